"""The command with its modules imported already: a process that forks for every run of it.

Importing takes longer than most runs. What runs is the same ``main`` in a process of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PACKAGES = ("cli", "dedupe")


class Forks:
    """Starts the process and asks it for runs, one at a time."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__))],
            env={**env, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run the command once."""
        told, answers = self._process.stdin, self._process.stdout
        assert told is not None
        assert answers is not None
        with tempfile.TemporaryDirectory() as place:
            output, errors = Path(place) / "output", Path(place) / "errors"
            request = (list(arguments), str(cwd), dict(env), str(output), str(errors))
            told.write(json.dumps(request) + "\n")
            told.flush()
            answer = answers.readline()
            assert answer, "the process that forks has ended"
            return subprocess.CompletedProcess(
                list(arguments), int(answer), output.read_text("utf-8"), errors.read_text("utf-8")
            )


def serve() -> None:
    """Import everything, then fork for every line until there are no more."""
    sys.path.insert(0, os.environ["PYTHONPATH"])
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(Path(sys.path[0]) / package)], f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(*json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(
    arguments: Sequence[str], cwd: str, env: Mapping[str, str], output: str, errors: str
) -> NoReturn:
    """Be the command."""
    from cli.main import main

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    flags = os.O_WRONLY | os.O_CREAT
    for number, opened in enumerate(
        (os.open(os.devnull, os.O_RDONLY), os.open(output, flags), os.open(errors, flags))
    ):
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["pgmend", *arguments]
    # A run that hangs ends its test.
    signal.alarm(120)
    try:
        main()
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    finally:
        os._exit(70)


if __name__ == "__main__":
    serve()
