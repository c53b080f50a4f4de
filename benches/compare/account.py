"""Runs one command and prints what it took; a program of its own, for ``process.run``.

    python -I -S account.py '{"command": [...], "log": "...", "folder": null, "timeout_sec": 600}'

It is a process apart because the kernel begins the peak memory of a command with that of the process which started it:
from a caller of a gigabyte every command would seem to take one. This process takes some ten megabytes, so it imports
next to nothing. Whatever the command leaves behind is adopted, waited for and counted, also what left its session.

Prints one JSON object: ``error``, or ``code``, ``began`` (seconds since 1970), ``wall_sec``, ``cpu_sec`` and
``peak_bytes``.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# A JVM that was told to end needs a second or two; one that needs longer is stuck.
LEFTOVERS_SEC = 30.0


def main() -> None:
    """Runs the command that the one argument describes."""
    asked = json.loads(sys.argv[1])
    # As Ctrl-C does: what was started must be ended first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        found = _run(asked["command"], asked["log"], asked["folder"], asked["timeout_sec"])
    except KeyboardInterrupt:
        found = {"error": "interrupted"}
    except OSError as error:
        found = {"error": f"{asked['command'][0]}: {error}"}
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _end_children()
    print(json.dumps(found))


def _run(command: list[str], log: str, folder: str | None, timeout_sec: float) -> dict[str, str | float]:
    if folder is not None:
        os.chdir(folder)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Python ignores it, and what is ignored stays so in a command.
    restored = [signal.SIGPIPE]
    began, started = time.time(), time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=files, setsid=True, setsigdef=restored)
    accounts: list[resource.struct_rusage] = []
    status = None
    with _limit(timeout_sec, f"not done after {timeout_sec:.0f} s"):
        while status is None:
            pid, ended, account = os.wait4(-1, 0)
            wall = time.monotonic() - started
            accounts.append(account)
            if pid == child:
                status = ended
    with _limit(LEFTOVERS_SEC, f"left processes behind that did not end in {LEFTOVERS_SEC:.0f} s"):
        accounts += _await_leftovers()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "began": began,
        "wall_sec": wall,
        "cpu_sec": sum(account.ru_utime + account.ru_stime for account in accounts),
        # The kernel counts in KiB.
        "peak_bytes": sum(account.ru_maxrss for account in accounts) * 1024,
    }


def _await_leftovers() -> list[resource.struct_rusage]:
    accounts = []
    while True:
        try:
            accounts.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return accounts


def _end_children() -> None:
    """Ends every child, and theirs, which become ours by the death of their parents."""
    while True:
        # The path of the main thread, the only one here.
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        children = [int(pid) for pid in listed.split()]
        if not children:
            return
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


@contextlib.contextmanager
def _limit(seconds: float, message: str) -> Iterator[None]:
    """Raises ``TimeoutError`` within the block when its seconds are over."""

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError(message)

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this system cannot adopt the processes a command leaves behind")


if __name__ == "__main__":
    main()
