"""A demonstration's folder: a local stack, a configuration, ordinary foodstream processes, and their end.

Guarantee: whatever happens, what was started is stopped and the folder is gone, unless it was asked to stay.
Neighbours: ``_demo`` and ``_demo_purchases`` say what is walked through; ``local`` is the stack.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from foodstream._stack import ports, process
from foodstream._stack.errors import FAILURE, StackError
from foodstream.local import Stack

# The first figure waits for topics, the group and Kafka's own transaction topic; the later ones for a poll and a
# micro-batch, which take about a second.
STEP_TIMEOUT_SEC = 90.0
# A stop ends a poll or finishes a commit; a process that needs longer than this is stuck.
STOP_TIMEOUT_SEC = 20.0
LOG_LINES = 15
# A look that is a command of its own is taken when there is news, and this often without any.
LOOK_AGAIN_SEC = 1.0

Steps = TypeVar("Steps")


class DemoError(Exception):
    """The walk did not go as it must; says at which step."""


class Walk:
    """The walk's folder with its stack and its processes, which run in it with its configuration."""

    def __init__(self, folder: Path, configuration_name: str, configuration: str) -> None:
        self.folder = folder
        self.stack = Stack(folder / ".foodstream")
        self._configuration_name = configuration_name
        self._configuration = configuration
        self._streams: dict[str, subprocess.Popen[bytes]] = {}
        self._began = time.monotonic()

    def say(self, sentence: str) -> None:
        """Tell what happens, on standard error, so that standard output holds the result alone."""
        print(f"[DEMO {time.monotonic() - self._began:5.1f} s] {sentence}", file=sys.stderr, flush=True)

    def up(self, sample: bool = True) -> None:
        """Start the services on ports nobody uses, and write the configuration."""
        self.say("starting PostgreSQL and Kafka")
        postgres_port = ports.spare(set())
        self.stack.up(postgres_port, ports.spare({postgres_port}), sample)
        (self.folder / self._configuration_name).write_text(self._configuration, encoding="utf-8")

    def start(self, name: str, *arguments: str) -> None:
        """Start a streaming command as a user would, with its output in a log of its own; ``name`` for one word."""
        with self.log(name).open("wb") as log:
            self._streams[name] = subprocess.Popen(
                self._command(*(arguments or (name,))),
                cwd=self.folder,
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a command to its end and return its JSON report."""
        report: dict[str, Any] = json.loads(self.output(*arguments, "--report", "json").strip().splitlines()[-1])
        return report

    def output(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=_clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()
            raise DemoError(f"`foodstream {' '.join(arguments)}` ended with {done.returncode}:\n{said}")
        return done.stdout

    def processes(self) -> str:
        """The ids of what was started."""
        return " and ".join(str(stream.pid) for stream in self._streams.values())

    def stop(self) -> None:
        """End what was started as a service manager would; each must end cleanly."""
        codes = {}
        for stream in self._streams.values():
            stream.send_signal(signal.SIGTERM)
        for name, stream in self._streams.items():
            try:
                codes[name] = stream.wait(STOP_TIMEOUT_SEC)
            except subprocess.TimeoutExpired:
                stream.kill()
                codes[name] = stream.wait()
        self._streams.clear()
        unclean = {name: code for name, code in codes.items() if code != 0}
        if unclean:
            raise DemoError(f"not a clean stop: {unclean}")

    def remove(self) -> None:
        """Take everything away: processes, services, data."""
        for stream in self._streams.values():
            stream.kill()
            stream.wait()
        self.stack.reset()
        shutil.rmtree(self.folder)

    def ends_of_logs(self) -> str:
        """The last lines of what each process said, for an error."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"==> {log.name} <==\n{process.tail(log, LOG_LINES)}" for log in logs)

    def wait(self, condition: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait until something is so; an error if a process ends meanwhile."""
        deadline = time.monotonic() + STEP_TIMEOUT_SEC
        while not condition():
            for name, stream in self._streams.items():
                if stream.poll() is not None:
                    raise DemoError(f"the {name} ended with {stream.returncode} while waiting for {what()}")
            if time.monotonic() > deadline:
                raise DemoError(f"waited {STEP_TIMEOUT_SEC:.0f} s for {what()}")
            time.sleep(process.POLL_INTERVAL_SEC)

    def at_news(self, name: str, condition: Callable[[], bool]) -> Callable[[], bool]:
        """The condition, for `wait`, but looked at when the process has said something since: a look is a command."""
        seen, looked = -1, 0.0

        def look() -> bool:
            nonlocal seen, looked
            size, now = self.log(name).stat().st_size, time.monotonic()
            if size == seen and now - looked < LOOK_AGAIN_SEC:
                return False
            seen, looked = size, now
            return condition()

        return look

    def log(self, name: str) -> Path:
        """Where a started command writes."""
        return self.folder / f"{name}.log"

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "foodstream", *arguments, "--config", self._configuration_name]


def _clean_environment() -> dict[str, str]:
    """The environment without settings of the user's own pipeline, which would come before the demo's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FOODSTREAM__")}


def run(
    options: Mapping[str, Any],
    make: Callable[[Path], Walk],
    walk_through: Callable[[Any], Steps],
    report: Callable[[Steps], dict[str, Any]],
    summary: Callable[[Steps], str],
) -> int:
    """Make a folder and its walk, go through it, tell the result, and take everything away; the exit code.

    Keys of ``options``, all with a default:

    ``keep``    leave services, processes and data as they are at the end (False)
    ``dir``     the folder to work in, which must not exist or be empty; None for a temporary one (None)
    ``report``  text, or json: one JSON object as the last line on standard output
    """
    keep = bool(options.get("keep"))
    named = options.get("dir")
    folder = Path(named).absolute() if named else Path(tempfile.mkdtemp(prefix="foodstream-demo-"))
    if folder.is_dir() and any(folder.iterdir()):
        print(f"foodstream demo: {folder} is not empty; name a new folder", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    walk = make(folder)
    began = time.monotonic()
    # A terminal that is closed and a runner that gives up send these; what was started must still be stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    try:
        steps = walk_through(walk)
        if not keep:
            walk.stop()
    except (DemoError, StackError) as error:
        print(f"foodstream demo: {error}\n{walk.ends_of_logs()}", file=sys.stderr)
        return error.exit_code if isinstance(error, StackError) else FAILURE
    finally:
        if not keep:
            walk.remove()
    seconds = round(time.monotonic() - began, 1)
    if options.get("report") == "json":
        print(json.dumps({**report(steps), "seconds": seconds}))
        return 0
    print(f"{summary(steps)}\n")
    if keep:
        print(f"everything runs on in {folder}: what was started are the processes {walk.processes()},")
        print("`foodstream local down` there ends the services")
    else:
        print(f"{seconds} s; processes and services are stopped, and the folder is removed")
    return 0
