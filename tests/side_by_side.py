"""Runs commands at once, shows their outputs one after the other, and ends with the summary of all.

    python tests/side_by_side.py -- cargo test -- pytest -n 3

Each command follows a ``--``. What the first prints is shown as it comes; the others' output waits in files for its
turn. Exits with the first code that is not 0, after all have ended. One that has not ended after ``LIMIT_SEC`` hangs:
it is named and killed with everything it started.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import told_to_end

# How often a file is looked at for more.
LOOK_EVERY_SEC = 0.05
# Several times what the slowest machine takes.
LIMIT_SEC = float(os.environ.get("TEST_LIMIT_SEC", 30 * 60))
# As `timeout` of coreutils says it.
TIMED_OUT = 124
# What cargo test and pytest end with, and the names of what failed.
SUMMARY = re.compile(rb"test result: |=+ .*(?:passed|failed|error).* =+$|(?:FAILED|ERROR) |test .* \.\.\. FAILED$")


class Runner:
    """A command under way, with its output in a file."""

    def __init__(self, command: Sequence[str], file: Path) -> None:
        self.name = " ".join(command)
        self.file = file
        self.begun = time.monotonic()
        self.seconds = 0.0
        with file.open("wb") as output:
            # A group of its own, so that what it started can be ended with it.
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.hung = False

    def has_ended(self) -> bool:
        taken = time.monotonic() - self.begun
        if self.child.poll() is None:
            if taken < LIMIT_SEC:
                return False
            self.hung = True
            self.kill()
        self.seconds = self.seconds or taken
        return True

    def tell(self, number: signal.Signals) -> None:
        """To the command and all that it started and that has no session of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def kill(self) -> None:
        self.tell(signal.SIGKILL)
        self.child.wait()

    @property
    def exit_code(self) -> int:
        return TIMED_OUT if self.hung else self.child.returncode

    def outcome(self) -> str:
        end = "had not ended and was killed" if self.hung else f"exit code {self.exit_code}"
        return f"{self.name}: {end} after {self.seconds:.0f} s"

    def summary(self) -> list[str]:
        found = [line for line in self.file.read_bytes().splitlines() if SUMMARY.match(line)]
        return [line.decode(errors="replace") for line in found]


def run(commands: Sequence[Sequence[str]], folder: Path) -> int:
    runners: list[Runner] = []
    try:
        with told_to_end.later():
            for number, command in enumerate(commands):
                runners.append(Runner(command, folder / f"{number}.out"))
        for runner in runners:
            show(f"----- {runner.name}\n".encode())
            follow(runner, runners)
    finally:
        end(runners)
    show(b"\n----- summary\n")
    for runner in runners:
        lines = "".join(f"{line}\n" for line in runner.summary())
        show(f"{runner.outcome()}\n{lines}".encode())
    return next((runner.exit_code for runner in runners if runner.exit_code), 0)


def end(runners: Sequence[Runner]) -> None:
    """Tells what still runs to end, all at once, and kills what has not when patience is over."""
    for runner in runners:
        runner.tell(signal.SIGTERM)
    deadline = time.monotonic() + told_to_end.COMMAND_PATIENCE_SEC
    for runner in runners:
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.child.wait(max(0.0, deadline - time.monotonic()))
        runner.kill()


def follow(runner: Runner, all_runners: Sequence[Runner]) -> None:
    with runner.file.open("rb") as output:
        while True:
            # In this order: what was printed before the end is then in the file.
            ended = [other.has_ended() for other in all_runners][all_runners.index(runner)]
            while more := output.read(1 << 16):
                show(more)
            if ended:
                return
            time.sleep(LOOK_EVERY_SEC)


def show(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def commands_of(words: Sequence[str]) -> list[list[str]]:
    commands: list[list[str]] = []
    for word in words:
        if word == "--":
            commands.append([])
        elif not commands:
            return []
        else:
            commands[-1].append(word)
    return commands if all(commands) else []


def main(words: Sequence[str]) -> int:
    commands = commands_of(words)
    if not commands:
        print(__doc__, file=sys.stderr)
        return 2
    told_to_end.exit_when_told()
    with tempfile.TemporaryDirectory(prefix="foodstream-tests-") as folder:
        return run(commands, Path(folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
