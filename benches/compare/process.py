"""Runs a command to its end and accounts for it and for every process it started.

Wall time is that of the command itself, from start to exit. CPU time and memory come from the operating system's own
accounts of finished processes, so nothing is sampled: processes the command leaves behind (a JVM whose driver is gone)
are adopted, waited for and counted. Linux only, as adoption is. The work is done by ``account.py``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ACCOUNT = Path(__file__).with_name("account.py")


class Failed(Exception):
    """The command ended with an error or not at all; the message holds the end of what it printed."""


@dataclass(frozen=True)
class Usage:
    """What a command took.

    ``peak_bytes`` is the most memory (resident) a process held, summed over those that ran beside each other: exact
    for one process and for one that waits for its children, at most a little high for others. Less than ten megabytes
    cannot be told apart.
    """

    wall_sec: float
    cpu_sec: float
    peak_bytes: int
    # When it started, in seconds since 1970; times of files are compared with it.
    began: float = 0.0


def run(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_sec: float = 600.0,
) -> Usage:
    """Starts ``command`` with its output in ``log`` (overwritten), waits for it and all it started.

    Raises ``Failed`` for an exit code other than 0 and for a command that is not done in ``timeout_sec`` seconds.
    """
    asked: dict[str, Any] = {
        "command": [str(word) for word in command],
        "log": str(log.absolute()),
        "folder": None if folder is None else str(folder),
        "timeout_sec": timeout_sec,
    }
    # Isolated and without site packages: it must be small, and the variables are the command's.
    account = subprocess.Popen(
        [sys.executable, "-I", "-S", _ACCOUNT, json.dumps(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=None if environment is None else dict(environment),
    )
    try:
        printed, _ = account.communicate()
    except BaseException:
        # It ends what it started before it ends.
        account.terminate()
        account.communicate()
        raise
    if account.returncode != 0:
        raise Failed(f"{asked['command'][0]} could not be accounted for; the reason stands above")
    return _usage(json.loads(printed), asked["command"][0], log)


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of what a command printed."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def without_settings() -> dict[str, str]:
    """The environment of this process without what would configure foodstream in place of the file of a run."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("FOODSTREAM__")}


def _usage(found: dict[str, float | str], name: str, log: Path) -> Usage:
    if "error" in found:
        printed = f"; the end of {log}:\n{tail(log)}" if log.exists() else ""
        raise Failed(f"{found['error']}{printed}")
    if found["code"] != 0:
        raise Failed(f"{name} ended with {found['code']}; the end of {log}:\n{tail(log)}")
    return Usage(
        wall_sec=float(found["wall_sec"]),
        cpu_sec=float(found["cpu_sec"]),
        peak_bytes=int(found["peak_bytes"]),
        began=float(found["began"]),
    )
