"""Another program in this one's place: its terminal, its signals, its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

#: what is passed on; SIGKILL and SIGSTOP cannot be
_PASSED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGCONT, signal.SIGWINCH,
)
#: si_code of a signal from the kernel: the terminal's, which the whole group has got
_FROM_KERNEL = 0x80
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127


class NotStarted(Exception):
    """The program could not be started: why, and the exit code of a shell for it."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


def run_child(argv: Sequence[str]) -> int:
    """Run a program to its end and return its exit code as a shell does.

    128 and its number for a signal. It stays in this process's group, so that it has the
    terminal; a signal from there has reached it already, and one that was sent to this
    process alone is passed on. Raises NotStarted.
    Source: https://man7.org/linux/man-pages/man2/sigaction.2.html
    """
    waited = {*_PASSED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        try:
            child = subprocess.Popen(
                argv,
                preexec_fn=lambda: signal.pthread_sigmask(  # noqa: PLW1509 -- no thread runs
                    signal.SIG_SETMASK, before
                ),
            )
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            raise NotStarted(
                f"{argv[0]} was not started: {error.strerror}",
                _NOT_FOUND if missing else _NOT_EXECUTABLE,
            ) from error
        while child.poll() is None:
            told = signal.sigwaitinfo(waited)
            if told.si_signo != signal.SIGCHLD and told.si_code != _FROM_KERNEL:
                os.kill(child.pid, told.si_signo)
        return 128 - child.returncode if child.returncode < 0 else child.returncode
    finally:
        # What came after the child's end was meant for it.
        while signal.sigtimedwait(waited, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
