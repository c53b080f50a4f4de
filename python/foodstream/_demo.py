"""``foodstream demo``: the guide's whole walk, on real services, in a folder of its own, checked as it goes.

Ten sample orders, five more, five more, then the two cases that hand-written pipelines lose: an order inserted early
and committed late by another connection, and an invalid one. Every figure shown is what ``foodstream verify`` counted;
producer and consumer are ordinary processes started with ordinary commands.
Neighbours: ``_walk`` is the folder and its end; the commands themselves are the Rust core's.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from foodstream import _walk
from foodstream._stack.postgres import client_environment, psql_command
from foodstream._walk import DemoError, Walk
from foodstream.local import DATABASE, PASSWORD, USER

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


class Figures(NamedTuple):
    """What `verify` counted after a step."""

    step: str
    table: int
    lake: int
    quarantine: int
    duplicates: int


class OrdersWalk(Walk):
    """The walk with a producer and a consumer of orders."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "orders_stream.yml", _CONFIGURATION)

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

        looked = self.at_news("consumer", arrived)
        self.wait(looked, lambda: f"{step}: {lake} rows in the lake and {quarantine} in quarantine, saw {seen}")
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
            self.wait(partial(self._polled_since, moment), lambda: "the producer to poll while a transaction is open")

    def _polled_since(self, moment: str) -> bool:
        return self.stack.postgres.psql(_POLLED_SINCE.format(user=USER, moment=moment), DATABASE) != "0"


def _walk_through(walk: OrdersWalk) -> list[Figures]:
    walk.up()
    port, brokers = walk.stack.postgres.port, walk.stack.brokers
    walk.say(f"PostgreSQL is on port {port}, Kafka on {brokers}; the table holds ten orders")

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


def _report(steps: Sequence[Figures]) -> dict[str, Any]:
    return {"steps": [figures._asdict() for figures in steps]}


def run(options: Mapping[str, Any]) -> int:
    """``foodstream demo``; takes the options of ``_walk.run`` and returns the exit code."""
    return _walk.run(options, OrdersWalk, _walk_through, _report, _summary)
