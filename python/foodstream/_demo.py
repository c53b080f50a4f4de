"""``foodstream demo``: the guide's whole walk, on real services, in a folder of its own, checked as it goes.

Ten sample orders, five more, five more, then the two cases that hand-written pipelines lose: an order inserted early
and committed late by another connection, and an invalid one. Every figure shown is what ``foodstream verify`` counted;
producer and consumer are ordinary processes started with ordinary commands. Whatever happens, what was started is
stopped and the folder is gone, unless ``--keep`` asks for both to stay.
Neighbours: ``local`` is the stack; the commands themselves are the Rust core's.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from foodstream._stack import ports, process
from foodstream._stack.errors import FAILURE, StackError
from foodstream._stack.postgres import client_environment, psql_command
from foodstream.local import DATABASE, PASSWORD, USER, Stack

# The first figure waits for topics, the group and Kafka's own transaction topic; the later ones for a poll and a
# micro-batch, which take about a second.
STEP_TIMEOUT_SEC = 90.0
# A stop ends a poll or finishes a commit; a process that needs longer than this is stuck.
STOP_TIMEOUT_SEC = 20.0
LOG_LINES = 15

# As shipped but for the pace, which is for people to watch, and the addresses, which the stack's `env` file gives.
_CONFIGURATION = f"""\
postgres:
  host: localhost
  db: {DATABASE}
  user: {USER}
  password: {PASSWORD}
  table: orders
kafka:
  brokers: localhost:9092
  topic: food_orders_raw
  num_partitions: 3
  replication_factor: 1
  consumer_group: food_orders_consumer_group
streaming:
  checkpoint_location: datalake/food/checkpoints/orders
  last_processed_timestamp_location: datalake/food/lastprocess/orders
cdc:
  poll_interval_sec: 0.5
  batch_limit: 1000
  default_start_timestamp: "2025-11-18 00:00:00"
datalake:
  path: datalake/food/output/orders
  format: parquet
consumer:
  trigger_interval_ms: 500
"""
_CONFIGURATION_NAME = "orders_stream.yml"

_LATE_ORDER = """
BEGIN;
INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)
VALUES ('Lena Late', 'Spice Garden', 'Butter Chicken', 350.00, 'PLACED') RETURNING order_id;
"""
_INVALID_ORDER = """
INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)
VALUES ('Nadia Negative', 'Pizza Hut', 'Margherita Pizza', -1.00, 'PLACED') RETURNING order_id;
"""
# Sessions of the walk's user whose last statement began after a moment; the one that holds the late order is idle.
_POLLED_SINCE = """
SELECT count(*) FROM pg_stat_activity
 WHERE usename = '{user}' AND state <> 'idle in transaction' AND query_start > '{moment}'
"""


class DemoError(Exception):
    """The walk did not go as it must; says at which step."""


class Figures(NamedTuple):
    """What `verify` counted after a step."""

    step: str
    table: int
    lake: int
    quarantine: int
    duplicates: int


class Walk:
    """The walk's folder with its stack and its two processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = Stack(folder / ".foodstream")
        self._streams: dict[str, subprocess.Popen[bytes]] = {}
        self._began = time.monotonic()

    def say(self, sentence: str) -> None:
        """Tell what happens, on standard error, so that standard output holds the result alone."""
        print(f"[DEMO {time.monotonic() - self._began:5.1f} s] {sentence}", file=sys.stderr, flush=True)

    def start(self, name: str) -> None:
        """Start producer or consumer as a user would, with its output in a log of its own."""
        with self._log(name).open("wb") as log:
            self._streams[name] = subprocess.Popen(
                self._command(name),
                cwd=self.folder,
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a command to its end and return its JSON report."""
        done = subprocess.run(
            [*self._command(*arguments), "--report", "json"],
            cwd=self.folder,
            env=_clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()
            raise DemoError(f"`foodstream {' '.join(arguments)}` ended with {done.returncode}:\n{said}")
        report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return report

    def figures(self, step: str) -> Figures:
        """Count with `verify`, which also compares the contents and fails on any difference."""
        counts = self.command("verify")["counts"]
        return Figures(step, counts["table"], counts["lake"], counts["quarantine"], counts["duplicates"])

    def figures_when(self, step: str, lake: int, quarantine: int = 0) -> Figures:
        """Wait until lake and quarantine hold these numbers of rows."""
        seen = Figures(step, 0, 0, 0, 0)

        def arrived() -> bool:
            nonlocal seen
            seen = self.figures(step)
            return (seen.lake, seen.quarantine) == (lake, quarantine)

        self._wait(arrived, lambda: f"{step}: {lake} rows in the lake and {quarantine} in quarantine, saw {seen}")
        self.say(f"{step}: {seen.table} rows in the table, {seen.lake} in the lake, {seen.quarantine} in quarantine")
        return seen

    @contextlib.contextmanager
    def uncommitted_order(self) -> Iterator[int]:
        """An order inserted by a connection of its own, which commits when the block ends."""
        session = subprocess.Popen(
            [*psql_command(), self.stack.postgres.conninfo(USER, DATABASE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=client_environment(PASSWORD),
            text=True,
        )
        with session:
            assert session.stdin is not None and session.stdout is not None
            session.stdin.write(_LATE_ORDER)
            session.stdin.flush()
            answer = session.stdout.readline()
            if not answer:
                raise DemoError("PostgreSQL did not take the late order")
            yield int(answer)
            session.stdin.write("COMMIT;\n")
            session.stdin.close()
        if session.returncode != 0:
            raise DemoError(f"the connection of the late order ended with {session.returncode}")

    def wait_for_polls(self, times: int) -> None:
        """Wait until the producer has asked PostgreSQL that often from now on."""
        for _ in range(times):
            moment = self.stack.postgres.psql("SELECT clock_timestamp()", DATABASE)
            self._wait(partial(self._polled_since, moment), lambda: "the producer to poll while a transaction is open")

    def processes(self) -> str:
        """The ids of producer and consumer."""
        return " and ".join(str(stream.pid) for stream in self._streams.values())

    def stop(self) -> None:
        """End producer and consumer as Ctrl-C would; both must end cleanly."""
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
        """The last lines of what producer and consumer said, for an error."""
        parts = [f"==> {name} <==\n{process.tail(self._log(name), LOG_LINES)}" for name in ("producer", "consumer")]
        return "\n".join(parts)

    def _polled_since(self, moment: str) -> bool:
        return self.stack.postgres.psql(_POLLED_SINCE.format(user=USER, moment=moment), DATABASE) != "0"

    def _wait(self, condition: Callable[[], bool], what: Callable[[], str]) -> None:
        deadline = time.monotonic() + STEP_TIMEOUT_SEC
        while not condition():
            for name, stream in self._streams.items():
                if stream.poll() is not None:
                    raise DemoError(f"the {name} ended with {stream.returncode} while waiting for {what()}")
            if time.monotonic() > deadline:
                raise DemoError(f"waited {STEP_TIMEOUT_SEC:.0f} s for {what()}")
            time.sleep(process.POLL_INTERVAL_SEC)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "foodstream", name, *arguments, "--config", _CONFIGURATION_NAME]


def _clean_environment() -> dict[str, str]:
    """The environment without settings of the user's own pipeline, which would come before the demo's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FOODSTREAM__")}


def _walk(walk: Walk) -> list[Figures]:
    walk.say("starting PostgreSQL and Kafka")
    postgres_port = ports.spare(set())
    walk.stack.up(postgres_port, ports.spare({postgres_port}))
    walk.say(f"PostgreSQL is on port {postgres_port}, Kafka on {walk.stack.brokers}; the table holds ten orders")
    (walk.folder / _CONFIGURATION_NAME).write_text(_CONFIGURATION, encoding="utf-8")

    walk.start("producer")
    walk.start("consumer")
    steps = [walk.figures_when("the ten sample orders", 10)]
    walk.command("insert-orders", "--count", "5")
    steps.append(walk.figures_when("round 1, five orders", 15))
    walk.command("insert-orders", "--count", "5")
    steps.append(walk.figures_when("round 2, five orders", 20))

    with walk.uncommitted_order() as late:
        walk.say(f"order {late} is inserted but not committed; another connection inserts an invalid one after it")
        invalid = walk.stack.postgres.psql(_INVALID_ORDER, DATABASE)
        walk.wait_for_polls(3)
        held = walk.figures("while the late order is open")
        if (held.lake, held.quarantine) != (20, 0):
            raise DemoError(f"the producer passed an open transaction: {held}")
        walk.say(f"the producer has polled and waits at order {late}; a plain cursor would now be past it")
    walk.say(f"order {late} is committed, after order {invalid}")
    steps.append(walk.figures_when("one late, one invalid order", 21, quarantine=1))

    repeated = [figures for figures in steps if figures.duplicates]
    if repeated or steps[-1].table != 22:
        raise DemoError(f"the figures do not add up: {repeated or steps[-1]}")
    return steps


def _summary(steps: Sequence[Figures]) -> str:
    width = max(len(figures.step) for figures in steps)
    lines = [f"{'':{width}}  {'table':>6}  {'lake':>6}  {'quarantine':>10}  {'duplicates':>10}"]
    lines += [
        f"{figures.step:{width}}  {figures.table:6}  {figures.lake:6}  {figures.quarantine:10}  {figures.duplicates:10}"
        for figures in steps
    ]
    last = steps[-1]
    lines += [
        "",
        f"Of {last.table} rows in PostgreSQL, {last.lake} are in the lake and {last.quarantine} is in quarantine",
        "with its reason: none lost, none twice, the late one included.",
    ]
    return "\n".join(lines)


def run(options: Mapping[str, Any]) -> int:
    """``foodstream demo``; returns its exit code.

    Keys of ``options``, all with a default:

    ``keep``    leave services, producer, consumer and data as they are at the end (False)
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
    walk = Walk(folder)
    began = time.monotonic()
    # A terminal that is closed and a runner that gives up send these; what was started must still be stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    try:
        steps = _walk(walk)
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
        print(json.dumps({"steps": [figures._asdict() for figures in steps], "seconds": seconds}))
        return 0
    print(f"{_summary(steps)}\n")
    if keep:
        print(f"everything runs on in {folder}: producer and consumer are the processes {walk.processes()},")
        print("`foodstream local down` there ends the services")
    else:
        print(f"{seconds} s; producer, consumer and services are stopped, and the folder is removed")
    return 0
