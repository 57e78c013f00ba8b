"""The entry point: nothing is imported here that could fail before it can be reported.

Every way out of the program passes through ``main``: the library's errors,
click's, signals, a closed pipe, and what nobody foresaw.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the ``pgmend`` command and exit with one of ``cli.exits.ExitCode``.

    The codes stand here as numbers, because their module imports the library.
    """
    for number in _SIGNALS:
        signal.signal(number, _leave)
    _open_streams()
    try:
        try:
            code = _guarded()
        except Exception:
            code = _unforeseen()
        code = _flushed(code)
    except KeyboardInterrupt:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        _say("pgmend: stopped")
        code = _flushed(3)
    for number in _SIGNALS:
        # All is said; the end of the interpreter shall not change the code.
        signal.signal(number, signal.SIG_IGN)
    # An interrupt inside an exec() of text, as in dataclass(), is remembered though it was
    # caught: under ``python -m`` the interpreter would end by SIGINT. The next exec() forgets it.
    exec("", {})  # noqa: S102  # of nothing
    sys.exit(code)


def _open_streams() -> None:
    """Open what the caller closed: else the next file opened would be taken for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free is the one that is missing.
            handle = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(handle, "w" if number else "r", encoding="utf-8"))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End at once: while modules are imported an exception could get lost, or a module break."""
    try:
        os.write(2, b"pgmend: stopped\n")
    finally:
        os._exit(3)


def _guarded() -> int:
    foreign = foreign_dedupe()
    if foreign is not None:
        _say(f"pgmend: error: {foreign}")
        _say(
            "HINT: PyPI's project 'dedupe' uses the same import name; the two cannot share an"
            " environment. Install pgmend with pipx, or into a virtual environment of its own."
        )
        return 2
    # Only now: these import the library.
    from cli.root import run

    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    return run(sys.argv[1:])


def foreign_dedupe() -> str | None:
    """Say what is wrong with the installed ``dedupe``, or None when it is pgmend's.

    The package is found and read, not imported: a foreign one would run its code.
    """
    spec = importlib.util.find_spec("dedupe")
    if spec is None:
        return "the library of pgmend (import package 'dedupe') is not installed"
    origin = Path(spec.origin) if spec.origin else None
    place = origin.parent if origin else next(iter(spec.submodule_search_locations or ()), "?")
    try:
        ours = origin is not None and "DedupeError" in origin.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        ours = False
    if ours:
        return None
    return f"the package 'dedupe' in {place} is another project's, not the library of pgmend"


def _unforeseen() -> int:
    """Write the traceback to a file and name it; to stderr where that fails."""
    # Only now: the sooner ``main`` runs, the sooner a signal is heard.
    import tempfile
    import traceback

    kind, error, _ = sys.exc_info()
    words = f"pgmend: error: unforeseen {kind.__name__ if kind else 'failure'}: {error}"
    try:
        handle, path = tempfile.mkstemp(prefix="pgmend-trace-", suffix=".txt", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{' '.join([Path(sys.argv[0]).name, *sys.argv[1:2]])}\n")
            traceback.print_exc(file=file)
    except OSError:
        _say(words)
        _say(traceback.format_exc())
    else:
        _say(words)
        _say(f"HINT: The trace is in {path}; please report it as a bug.")
    return 5


def _flushed(code: int) -> int:
    """Flush the streams here, so that a closed pipe cannot change the exit code later."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            # Whoever read has what they wanted; Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError) as error:
            if stream is sys.stdout:
                _say(f"pgmend: error: cannot write the result: {error}")
                code = 5
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr)
    except (OSError, ValueError):
        # Nobody listens any more; the exit code still says it.
        return
