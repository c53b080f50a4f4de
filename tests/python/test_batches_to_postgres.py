"""A function for each batch: what it is given, how it ends, and exactly once into PostgreSQL under SIGKILL.

The kills run the example of ``examples/``. A child process kills itself at a chosen pass of a chosen point (the batch
was given, its rows are written, PostgreSQL has committed and the lake has not), or the parent kills it when it has said
so many lines, wherever it is by then. Rows keep flowing: each line of a child inserts some more.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foodstream
import oracle
import polars
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "batches_to_postgres.py"
SEED = 20251120
POINTS = ("given", "written", "applied")
KILLS_OF_ITS_OWN = 9
KILLS_FROM_OUTSIDE = 6
PATIENCE_SEC = 60.0

# Arguments: the configuration, the target, the point and the pass of the kill, and whether there is a ledger.
_CHILD = """
import contextlib, importlib.util, json, os, signal, sys
import foodstream, psycopg

path, config, target, point, passes, kept = sys.argv[1:]
spec = importlib.util.spec_from_file_location("example", path)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
left = int(passes)

def reach(name, batch_id):
    global left
    print(name, batch_id, flush=True)
    left -= name == point
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Forgetful(foodstream.BatchLedger):
    def record(self, cursor, batch_id):
        return True

class Stepwise:
    # The ledger with a point before and a point behind PostgreSQL's commit.
    def __init__(self, ledger):
        self.ledger = ledger

    @contextlib.contextmanager
    def once(self, batch_id):
        reach("given", batch_id)
        with self.ledger.once(batch_id) as cursor:
            yield cursor
            reach("written", batch_id)
        reach("applied", batch_id)

connection = psycopg.connect(target)
ledger = (foodstream.BatchLedger if kept == "kept" else Forgetful)(connection, pipeline="test")
ledger.create()
connection.execute(example.SUMS)
connection.commit()
with foodstream.Consumer(json.loads(config)) as consumer:
    consumer.for_each_batch(example.add_to_days(Stepwise(ledger)), available_now=point == "end")
"""


class Sums:
    """The example over one pipeline, killed and started again."""

    def __init__(self, pipeline: Any, ledger: bool = True) -> None:
        self.pipeline = pipeline
        self.ledger = ledger
        password = f" password={pipeline.config['postgres']['password']}"
        with pipeline.database.connect() as connection:
            self.target = connection.info.dsn + password
        pipeline.config["consumer"].update(maxOffsetsPerTrigger=7, trigger_interval_ms=20)
        pipeline.config["cdc"]["poll_interval_sec"] = 0.02
        # Batch id to the points it has passed, in order.
        self.points: dict[str, list[str]] = {}

    def be_killed(self, point: str = "never", passes: int = 1, after_lines: int | None = None) -> None:
        """Start a child and kill it: itself at a pass of a point, or after so many lines."""
        self.insert(20)
        assert self._run(point, passes, after_lines) == -signal.SIGKILL

    def finish(self) -> None:
        """Let a child consume what there is."""
        assert self._run("end", 1, None) == 0

    def _run(self, point: str, passes: int, after_lines: int | None) -> int:
        config = dict(self.pipeline.config)
        # A group of its own, since positions are the lake's: nobody waits for the session of the one killed before.
        config["kafka"] = {**config["kafka"], "consumer_group": str(uuid.uuid4())}
        words = [str(EXAMPLE), json.dumps(config), self.target, point, str(passes), "kept" if self.ledger else "none"]
        with subprocess.Popen([sys.executable, "-c", _CHILD, *words], stdout=subprocess.PIPE, text=True) as child:
            hung = threading.Timer(PATIENCE_SEC, child.kill)
            hung.start()
            try:
                assert child.stdout is not None
                for number, line in enumerate(child.stdout, 1):
                    reached, batch_id = line.split()
                    self.points.setdefault(batch_id, []).append(reached)
                    if number == after_lines:
                        child.kill()
                    elif point != "end":
                        self.insert(3)
            finally:
                hung.cancel()
        return child.returncode

    def insert(self, rows: int) -> None:
        self.pipeline.database.sql(
            "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) "
            "SELECT 'c', 'r', 'i', (random() * 1000 + 1)::numeric(10, 2), 'PLACED', (now() AT TIME ZONE 'UTC') "
            "FROM generate_series(1, %s)",
            rows,
        )

    def of_source(self) -> list[tuple[Any, ...]]:
        statement = "SELECT created_at::date, count(*), sum(amount) FROM orders GROUP BY 1 ORDER BY 1"
        return list(self.pipeline.database.sql(statement))

    def of_target(self) -> list[tuple[Any, ...]]:
        return list(self.pipeline.database.sql("SELECT day, orders, amount FROM daily_sales ORDER BY day"))


def committed_ids(pipeline: Any) -> list[str]:
    """Ids of the batches with messages in the commit log, in order."""
    commits = Path(pipeline.config["streaming"]["checkpoint_location"]) / "commits"
    records = [json.loads(path.read_bytes()) for path in sorted(commits.rglob("*.json"))]
    return [record["batch"] for record in records if record["counts"]["input"]]


# With services


@pytest.mark.timeout(400)
def test_daily_sums_in_postgresql_are_exact_after_kills_at_any_moment(pipeline: Any) -> None:
    moments = random.Random(SEED)
    sums = Sums(pipeline)
    producer = pipeline.start("producer")
    for kill in range(KILLS_OF_ITS_OWN):
        sums.be_killed(point=POINTS[kill % len(POINTS)], passes=moments.randint(1, 3))
    for _ in range(KILLS_FROM_OUTSIDE):
        sums.be_killed(after_lines=moments.randint(1, 9))
    producer.send_signal(signal.SIGTERM)
    assert producer.wait(10) == 0
    pipeline.run("producer", "--once")
    sums.finish()

    assert sums.of_target() == sums.of_source()
    oracle.assert_conserved(pipeline)
    pipeline.run("verify")
    again = [points for points in sums.points.values() if points.count("given") > 1]
    assert any("applied" in points[:-1] for points in again), "no kill fell between the two commits"
    applied = {batch_id for (batch_id,) in pipeline.database.sql("SELECT batch_id FROM foodstream_batches")}
    assert applied == set(committed_ids(pipeline)) == set(sums.points)


def test_without_the_ledger_a_kill_between_the_two_commits_counts_rows_twice(pipeline: Any) -> None:
    """The check of the test above: it must be able to fail."""
    pipeline.run("producer", "--once")
    sums = Sums(pipeline, ledger=False)
    sums.be_killed(point="applied", passes=1)
    pipeline.run("producer", "--once")
    sums.finish()
    orders = {day: orders for day, orders, _ in sums.of_source()}
    counted = {day: orders for day, orders, _ in sums.of_target()}
    assert sum(counted.values()) > sum(orders.values())
    oracle.assert_conserved(pipeline)


def test_the_example_runs_as_it_says(pipeline: Any) -> None:
    pipeline.run("producer", "--once")
    sums = Sums(pipeline)
    words = [str(EXAMPLE), "--config", str(pipeline.config_file), "--target", sums.target, "--available-now"]
    for orders in (10, 0):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC,
            check=True,
        )
        assert f"{orders} orders, 0 in quarantine" in done.stdout
    assert sums.of_target() == sums.of_source()


def test_a_function_is_given_batch_and_id_and_the_lake_gets_them_under_that_id(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    seen: list[tuple[str, int]] = []

    def look(batch: foodstream.Batch, batch_id: str) -> None:
        assert batch.plan_id == batch_id == str(uuid.UUID(batch_id))
        assert len(batch.accepted) + len(batch.rejected) == len(batch)
        assert sum(to - start for start, to in batch.offsets.values()) >= len(batch)
        assert polars.DataFrame(batch.accepted).height == len(batch)
        assert len(foodstream.read(pipeline.config)) == sum(rows for _, rows in seen), "not yet in the lake"
        with pytest.raises(foodstream.FoodstreamError, match="when its function returns"):
            batch.commit()
        with pytest.raises(foodstream.FoodstreamError, match="called this itself"):
            consumer.run()
        seen.append((batch_id, len(batch)))

    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 4
    with foodstream.Consumer(pipeline.config) as consumer:
        done = consumer.for_each_batch(look, once=True)
        assert (done.rows, done.batches) == (10, len(seen))
        assert consumer.for_each_batch(look, available_now=True).rows == 0
        for batch in consumer.recent_progress:
            assert batch["numInputRows"] <= 4
    assert committed_ids(pipeline) == [batch_id for batch_id, _ in seen]
    assert foodstream.verify_pipeline(pipeline.config)


@pytest.fixture
def python_hears_ctrl_c() -> Iterator[None]:
    """A run that a shell put into the background began with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_hears_ctrl_c")
def test_an_exception_goes_up_unchanged_and_the_same_batch_comes_again(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    seen: list[tuple[str, dict[int, tuple[int, int]]]] = []
    mine = KeyError("mine")

    def failing(batch: foodstream.Batch, batch_id: str) -> None:
        seen.append((batch_id, batch.offsets))
        if len(seen) == 1:
            raise mine
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(PATIENCE_SEC)

    with foodstream.Consumer(pipeline.config) as consumer:
        with pytest.raises(KeyError) as caught:
            consumer.for_each_batch(failing, available_now=True)
        assert caught.value is mine
        foodstream.insert_test_orders(pipeline.config, count=5)
        foodstream.Producer(pipeline.config).run(once=True)
        with pytest.raises(KeyboardInterrupt):
            consumer.for_each_batch(failing, available_now=True)
        assert len(foodstream.read(pipeline.config)) == 0
        consumer.for_each_batch(failing, available_now=True)
    assert seen[0] == seen[1] == seen[2]
    assert len(foodstream.read(pipeline.config)) == 15
    oracle.assert_conserved(pipeline)


def test_stop_and_close_end_it_and_leave_nothing_half_done(
    pipeline: Any, eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 2
    consumer = foodstream.Consumer(pipeline.config)
    statuses: list[str] = []

    def stopping(_batch: foodstream.Batch, _id: str) -> None:
        statuses.append(consumer.status["message"])
        consumer.stop()

    assert consumer.for_each_batch(stopping).batches == 1
    assert statuses == ["running"]
    assert len(foodstream.read(pipeline.config)) == 2
    # From another thread, while it waits for messages.
    consumer.for_each_batch(lambda *_: None, available_now=True)
    waiting = threading.Thread(target=consumer.for_each_batch, args=(lambda *_: None,))
    waiting.start()
    eventually(lambda: consumer.status["message"] == "running", "the call")
    consumer.stop()
    waiting.join(10)
    assert not waiting.is_alive()

    foodstream.insert_test_orders(pipeline.config, count=3)
    foodstream.Producer(pipeline.config).run(once=True)
    with pytest.raises(foodstream.FoodstreamError, match="is not committed and comes again"):
        consumer.for_each_batch(lambda *_: consumer.close())
    assert len(foodstream.read(pipeline.config)) == 10
    # A plain run takes the rows of the batch that was begun, and says so.
    foodstream.Consumer(pipeline.config).run(once=True)
    assert any("will not come back to it" in record.message for record in caplog.records)
    assert len(foodstream.read(pipeline.config)) == 13


def test_the_ledger_applies_a_batch_once_and_keeps_it_with_its_rows_or_not_at_all(pipeline: Any) -> None:
    with pipeline.database.connect(autocommit=False) as connection:
        ledger = foodstream.BatchLedger(connection, table="public.applied", pipeline="a")
        ledger.create()
        ledger.create()
        connection.execute("CREATE TABLE sums (n int)")
        connection.commit()
        with pytest.raises(ZeroDivisionError), ledger.once("one") as cursor:
            assert cursor is not None
            cursor.execute("INSERT INTO sums VALUES (1)")
            1 / 0  # noqa: B018
        for _ in range(2):
            with ledger.once("one") as cursor:
                if cursor is not None:
                    cursor.execute("INSERT INTO sums VALUES (1)")
                else:
                    connection.execute("INSERT INTO sums VALUES (2)")  # does not stay
        assert pipeline.database.sql("SELECT n FROM sums") == [(1,)]
        with connection.cursor() as cursor:
            assert not ledger.record(cursor, "one")
            assert ledger.record(cursor, "two")
            assert foodstream.BatchLedger(connection, table="public.applied", pipeline="b").record(cursor, "one")
        connection.commit()
    by_factory = foodstream.BatchLedger(
        lambda: pipeline.database.connect(autocommit=False), table="applied", pipeline="a"
    )
    with by_factory.once("two") as cursor:
        assert cursor is None
    with by_factory.once("three") as cursor:
        assert cursor is not None
    assert pipeline.database.count("applied") == 4


# Without services


class NoDatabase:
    autocommit = True

    def cursor(self) -> Any: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


def test_the_ledger_refuses_what_would_make_it_worthless() -> None:
    with pytest.raises(ValueError, match="autocommit off"), foodstream.BatchLedger(NoDatabase()).once("one"):
        pass
    for name in ("", "a.b.c", 'x"; DROP TABLE y', "1a"):
        with pytest.raises(ValueError, match="table"):
            foodstream.BatchLedger(NoDatabase(), table=name)
