"""Server processes: started apart from the terminal, recognised later, stopped by process id.

Guarantee: a signal is sent only to a process that this stack started. A process id alone does not prove that, since
ids are reused, so the time the process started is kept beside it and compared before each signal.
Used by ``postgres`` and ``kafka``.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foodstream._stack.errors import StackError

# How often a wait looks again: short beside the second or so a server takes, long beside the look itself.
POLL_INTERVAL_SEC = 0.02


@dataclass(frozen=True)
class Started:
    """A process this stack started: its id, and when it started, in the kernel's own words."""

    pid: int
    started: str

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Started | None":
        """The saved process, or None if there is none (a torn file counts as none: nothing can be proved from it)."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(pid=int(record["pid"]), started=str(record["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_running(self) -> bool:
        child = _children.get(self)
        if child is None:
            return start_time(self.pid) == self.started
        if child.poll() is None:
            return True
        _children.pop(self, None)
        return False


# Children of this very process: one that has ended keeps its id until its parent asks, which is done above.
_children: dict[Started, subprocess.Popen[bytes]] = {}


def start_time(pid: int) -> str | None:
    """When the process with this id started, as text fit only for comparison; None if there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            # The command in the second field may hold spaces and brackets; the fields after its last bracket do not.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        state, ticks_since_boot = fields[0], fields[19]
        return None if state == "Z" else f"{_boot_id()}/{ticks_since_boot}"
    ps = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = ps.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "boot"


def command_line(pid: int) -> str:
    """The command a process was started with, or an empty string; for telling processes apart, not for parsing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        ps = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return ps.stdout.strip()


def start(command: Sequence[str], log: Path, folder: Path, environment: dict[str, str] | None = None) -> Started:
    """Starts a server with its output appended to ``log``.

    It gets a session of its own, so that Ctrl-C in the terminal that ran `foodstream local up` does not reach it.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    # A child that has ended already still gets a record; the wait for readiness then finds it gone and says why.
    started = Started(child.pid, start_time(child.pid) or "ended")
    _children[started] = child
    return started


def stop(process: Started, steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Sends each signal in turn, waiting that many seconds for the process to end, until it has."""
    for sent, patience_sec in steps:
        if not process.is_running():
            return
        try:
            os.kill(process.pid, sent)
        except ProcessLookupError:
            return
        if wait_until(lambda: not process.is_running(), patience_sec):
            return
    raise StackError(f"process {process.pid} did not end, even when killed")


def wait_until(condition: Callable[[], bool], timeout_sec: float) -> bool:
    """Looks until the condition holds (True) or the time is over (False)."""
    deadline = time.monotonic() + timeout_sec
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL_SEC)
    return True


def tail(path: Path, lines: int) -> str:
    """The last lines of a log, or an empty string if there is none."""
    if lines <= 0:
        return ""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            # A line of the servers' logs is about 150 bytes; ten times that is enough for any we want to show.
            log.seek(max(0, log.tell() - lines * 1_500))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
