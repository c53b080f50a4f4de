"""The pipeline's processes: one producer and some consumers, started, signalled, watched, started again.

Guarantees: a signal goes only to a process that was started here, and by its id. A process that ends without having
been told to is a finding, whatever its code: a streaming run waits for services that are away, for ever.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foodstream._stack import process

from torture.ledger import Ledger

PRODUCER, CONSUMER = "producer", "consumer"
# A clean stop takes two seconds at most, on a machine that is not starved; this is for one that is.
STOP_TIMEOUT_SEC = 30.0
# What a process exits with that aborts at a failpoint, and one in which the step there has failed.
ABORTED, FAILED = -signal.SIGABRT, 1
# Try again later: what `sysexits.h` calls EX_TEMPFAIL.
AWAY = 75
LOG_LINES = 3
# What an armed step that fails is called by the program.
STOPPED = b"stopped at failpoint"
# What a producer says after each transaction.
PUBLISHED = b"STATE UPDATED"
# After so many ends without a reason the pipeline is broken, and more restarts would show nothing new.
MOST_ENDS = 20


class BrokenError(Exception):
    """The pipeline does not run any more, so that going on would show nothing."""


@dataclass(eq=False)
class Member:
    """One process. ``point`` is the failpoint it is armed with, ``excused`` the codes it may end with by itself."""

    side: str
    log: Path
    child: subprocess.Popen[bytes]
    point: str = ""
    excused: tuple[int, ...] = ()

    def has_ended(self) -> bool:
        return self.child.poll() is not None

    def has_failed(self) -> bool:
        """Whether the step at its point has failed, so that it ended or said why."""
        return self.has_ended() or STOPPED in self.log.read_bytes()

    def has_published(self) -> bool:
        """Whether a producer has come so far as to publish by itself."""
        return self.has_ended() or PUBLISHED in self.log.read_bytes()

    def signal(self, sent: signal.Signals) -> None:
        if not self.has_ended():
            self.child.send_signal(sent)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self.child.wait()


@dataclass
class Crew:
    """Who runs now; ``config`` is the file they all read."""

    config: Path
    folder: Path
    ledger: Ledger
    members: list[Member] = field(default_factory=list)
    started: int = 0
    ends: int = 0
    # Codes a member may end with while something lasts that it cannot wait out; who does comes back after it.
    forgiven: tuple[int, ...] = ()
    owed: list[str] = field(default_factory=list)

    @property
    def producer(self) -> Member:
        return next(member for member in self.members if member.side == PRODUCER)

    @property
    def consumers(self) -> list[Member]:
        return [member for member in self.members if member.side == CONSUMER]

    def start(self, side: str, point: str = "", passes: int = 0, word: str = "kill") -> Member:
        """Starts one more; with a ``point`` it aborts there (``kill``), or fails there once (an empty word)."""
        environment = environment_of_a_member()
        excused: tuple[int, ...] = ()
        if point:
            action = f"return({word})" if word else "1*return->off"
            environment["FAILPOINTS"] = f"{point}={passes}*off->{action}" if passes else f"{point}={action}"
            excused = (ABORTED,) if word else (FAILED,)
        self.started += 1
        log = self.folder / f"{self.started:04}-{side}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "foodstream", side, "--config", str(self.config)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        member = Member(side, log, child, point, excused)
        self.members.append(member)
        return member

    def run(self, words: Sequence[str], timeout_sec: float) -> subprocess.CompletedProcess[str]:
        """Runs a command of the product beside the crew, to its end; one that does not end is a finding."""
        try:
            return subprocess.run(
                [sys.executable, "-m", "foodstream", *words],
                cwd=self.folder,
                env=environment_of_a_member(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_sec,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BrokenError(f"`foodstream {' '.join(words)}` did not end within {timeout_sec:.0f} s") from None

    def kill(self, member: Member) -> None:
        """SIGKILL; a finding if it had ended by itself before."""
        member.kill()
        self.members.remove(member)
        code = member.child.returncode
        if code not in (-signal.SIGKILL, *member.excused, *self.forgiven):
            end = process.tail(member.log, LOG_LINES)
            self.ledger.finds("loud", f"{member.log.name} had ended by itself with {code}: {end}")

    def dismiss(self, member: Member) -> None:
        """Sees an armed one off: it has ended at its point, with its code, or is killed now."""
        was_there = not member.has_ended()
        member.kill()
        if member in self.members:
            self.members.remove(member)
            code = member.child.returncode
            if not was_there and code not in member.excused:
                end = process.tail(member.log, LOG_LINES)
                self.ledger.finds("loud", f"{member.log.name}, armed with {member.point}, ended with {code}: {end}")

    def ask(self, member: Member) -> None:
        """SIGTERM; a finding unless it ends cleanly and in time."""
        self.members.remove(member)
        member.signal(signal.SIGTERM)
        try:
            code = member.child.wait(STOP_TIMEOUT_SEC)
        except subprocess.TimeoutExpired:
            member.kill()
            self.ledger.finds("alive", f"{member.log.name}: no end {STOP_TIMEOUT_SEC:.0f} s after SIGTERM")
            return
        # One that had not said a word had not come to where it hears a signal, nor to any work.
        unborn = code == -signal.SIGTERM and not process.tail(member.log, LOG_LINES)
        if not unborn and code not in (0, *member.excused, *self.forgiven):
            self.ledger.finds("loud", f"{member.log.name}: {code} after SIGTERM: {process.tail(member.log, LOG_LINES)}")

    def tend(self) -> None:
        """Looks for members that have ended by themselves: without an excuse that is a finding, and they are replaced.

        An armed one is not: whoever armed it starts what comes after it, and two would come of one.
        """
        for member in [member for member in self.members if member.has_ended()]:
            self.members.remove(member)
            code = member.child.returncode
            if code in self.forgiven and not member.point:
                self.owed.append(member.side)
                continue
            if code not in (*member.excused, *self.forgiven):
                end = process.tail(member.log, LOG_LINES)
                self.ledger.finds("loud", f"{member.log.name} ended by itself with {code}: {end}")
                self.ends += 1
                if self.ends > MOST_ENDS:
                    raise BrokenError(f"{self.ends} processes ended by themselves, the last with: {end}")
            if not member.point:
                self.start(member.side)

    def forgive(self, *codes: int) -> None:
        """From now on members may end with these codes. Without any, that is over, and who did so is replaced."""
        self.forgiven = codes
        while not codes and self.owed:
            self.start(self.owed.pop())

    def close(self) -> None:
        for member in self.members:
            # One that was stopped by SIGSTOP dies of SIGKILL all the same.
            member.kill()
        self.members.clear()


def environment_of_a_member() -> dict[str, str]:
    """Ours, without what would come before the configuration or arm a member that is not to be armed."""
    return dict(_kept(os.environ))


def _kept(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        if not name.startswith("FOODSTREAM__") and name != "FAILPOINTS":
            yield name, value
