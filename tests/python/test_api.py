"""The Python face: without services what it refuses and how it ends, with services what it carries."""

import ast
import contextlib
import datetime
import inspect
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import foodstream
import polars
import pyarrow
import pytest
import topics
from foodstream import _core
from foodstream.purchases import DataValidator, EventProducer, StreamingJob
from nowhere import SECRET, settings

# Py_TPFLAGS_BASETYPE: the class may have subclasses.
SUBCLASSABLE = 1 << 10
STUB = Path(__file__).resolve().parents[2] / "python" / "foodstream" / "_core.pyi"


# Without services


def test_a_wrong_configuration_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("kafka:\n  brokrs: x\n", encoding="utf-8")
    with pytest.raises(foodstream.ConfigError) as caught:
        foodstream.Producer(file)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.path, error.line, error.column, error.key) == (str(file), 2, 3, "kafka.brokrs")
    assert "kafka.brokers" in str(error)
    assert not error.retriable


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("nowhere.yml", "no such file"),
        ({"kafka": {"brokrs": 1}}, "kafka.brokers"),
        ({"kafka": {"brokers": {1, 2}}}, "set"),
        (3, "not int"),
    ],
)
def test_what_is_no_configuration_is_refused(config: Any, words: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(foodstream.ConfigError, match=words):
        foodstream.Consumer(config)


def test_overrides_stand_above_a_dict_and_a_config_can_be_used_again(tmp_path: Path) -> None:
    config = foodstream.Config(settings(tmp_path), overrides={"kafka": {"topic": "other"}})
    assert 'topic="other"' in repr(config) and 'table="orders"' in repr(config)
    assert 'topic="other"' in repr(foodstream.Producer(config))
    with pytest.raises(foodstream.ConfigError, match="overrides"):
        foodstream.Producer(config, overrides={})


PURCHASES = "kafka: {topic_name: other}\naggregate: {group_by: [currency, product_category]}\n"


def test_a_config_keeps_its_preset_and_the_classes_of_purchases_refuse_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "purchases.yml"
    file.write_text(PURCHASES, encoding="utf-8")
    with pytest.raises(foodstream.ConfigError, match="currency"):
        foodstream.Config(file)
    config = foodstream.Config(file, preset="purchases")
    event = EventProducer(config).generate()
    assert DataValidator(config).validate([event])
    assert "other" in repr(StreamingJob(config))
    orders = foodstream.Config(settings(tmp_path))
    for kind in (EventProducer, StreamingJob, DataValidator):
        with pytest.raises(foodstream.ConfigError, match='preset="purchases"'):
            kind(orders)
        with pytest.raises(foodstream.ConfigError, match="`preset` is `orders`"):
            kind(file, overrides={"preset": "orders"})
    columns = [{"name": "created_at", "type": "timestamp"}]
    assert DataValidator(foodstream.Config(settings(tmp_path), overrides={"schema": columns})).validate([])
    with pytest.raises(foodstream.ConfigError, match="use orders or purchases"):
        foodstream.Config(file, preset="sales")  # type: ignore[arg-type]
    with pytest.raises(foodstream.ConfigError, match="already"):
        foodstream.Config(config, preset="purchases")


def test_a_file_that_says_its_preset_is_taken_for_what_it_is_by_every_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "purchases.yml"
    file.write_text("preset: purchases\n" + PURCHASES, encoding="utf-8")
    assert {"currency", "product_category"} <= set(polars.DataFrame(foodstream.totals(file)).columns)
    assert "product_name" in polars.DataFrame(foodstream.read(file)).columns
    assert EventProducer(foodstream.Config(file)).generate()["currency"]
    file.write_text(PURCHASES, encoding="utf-8")
    named = foodstream.totals(file, overrides={"preset": "purchases"})
    assert "product_category" in polars.DataFrame(named).columns


def test_keys_of_the_jvm_are_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "foodstream"):
        EventProducer({"spark": {"master": "local"}, "producer": {"acks": 1}})
    said = {record.levelname: record.getMessage() for record in caplog.records}
    assert "`spark.master` is a key of the JVM" in said["INFO"]
    assert "raised to `all`" in said["WARNING"]


def test_reprs_are_one_line_without_secrets(tmp_path: Path) -> None:
    config = settings(tmp_path)
    for thing in (foodstream.Config(config), foodstream.Producer(config), foodstream.Consumer(config)):
        assert SECRET not in repr(thing) and "\n" not in repr(thing)


def test_errors_survive_pickling() -> None:
    error = foodstream.ConfigError("wrong")
    error.line = 7
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.line, again.column) == (foodstream.ConfigError, "wrong", 7, None)


def test_every_error_has_one_base_and_says_whether_waiting_helps() -> None:
    names = ("ConfigError", "SourceError", "BrokerError", "SchemaError", "LakeError", "DataLossError", "FencedError")
    for name in names:
        error = getattr(foodstream, name)
        assert issubclass(error, foodstream.FoodstreamError) and error.retriable is False
        assert error.__module__ == "foodstream" and error.__doc__


@pytest.mark.parametrize("kind", ["Producer", "Consumer"])
def test_use_after_close_raises_and_close_may_be_repeated(kind: str, tmp_path: Path) -> None:
    with getattr(foodstream, kind)(settings(tmp_path)) as thing:
        assert thing.status["message"] == "idle" and thing.last_progress is None and thing.recent_progress == []
    thing.close()
    thing.stop()
    assert thing.status["message"] == "closed" and "closed" in repr(thing)
    with pytest.raises(foodstream.FoodstreamError, match="closed"):
        thing.run()


def test_a_loop_over_a_closed_consumer_raises(tmp_path: Path) -> None:
    consumer = foodstream.Consumer(settings(tmp_path))
    consumer.close()
    with pytest.raises(foodstream.FoodstreamError, match="closed"):
        next(iter(consumer))


def test_an_unreachable_database_is_worth_waiting_for(tmp_path: Path) -> None:
    with foodstream.Producer(settings(tmp_path)) as producer:
        with pytest.raises(foodstream.SourceError) as caught:
            producer.run(once=True)
        assert caught.value.retriable
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(timeout: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout"):
        foodstream.Producer(settings(tmp_path)).run(timeout=timeout)


def test_events_go_to_logging_and_nothing_is_configured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="foodstream"), pytest.raises(foodstream.SourceError):
        foodstream.Producer(settings(tmp_path)).run(once=True)
    assert any(record.name.startswith("foodstream.") and "trying again" in record.message for record in caplog.records)
    assert not logging.getLogger("foodstream").handlers


def test_the_stub_describes_the_binary() -> None:
    stub = ast.parse(STUB.read_text(encoding="utf-8"))
    described = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert public == described.keys()
    for name, node in described.items():
        real = getattr(_core, name)
        assert first_line(ast.get_docstring(node)) == first_line(inspect.getdoc(real)), name
        if isinstance(node, ast.FunctionDef):
            assert parameters(node) == list(inspect.signature(real).parameters), name
        elif not issubclass(real, Exception):
            compare_members(name, node, real)


def compare_members(name: str, node: ast.ClassDef, real: type) -> None:
    members = {
        member.name: member for member in node.body if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    public = {member for member in vars(real) if not member.startswith("_")}
    final = any(isinstance(decorator, ast.Name) and decorator.id == "final" for decorator in node.decorator_list)
    assert final is not bool(real.__flags__ & SUBCLASSABLE), name
    assert public == {member for member in members if not member.startswith("_")}, name
    for member, described in members.items():
        value = getattr(real, member)
        doc = ast.get_docstring(described)
        if doc is not None:
            assert first_line(doc) == first_line(inspect.getdoc(value)), f"{name}.{member}"
        if not member.startswith("__") and inspect.isroutine(value):
            assert parameters(described) == list(inspect.signature(value).parameters), f"{name}.{member}"


def first_line(doc: str | None) -> str | None:
    return doc.splitlines()[0].replace("``", "`") if doc else None


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


# With services


def test_rows_go_from_the_table_to_the_lake(pipeline: Any) -> None:
    config = pipeline.config
    with foodstream.Producer(config) as producer:
        done = producer.run(once=True)
        assert (done.rows, done.cursor) == (10, "2025-11-18 12:00:00.000000|10")
        assert producer.run(once=True).rows == 0
        keys = foodstream.insert_test_orders(config, count=5)
        assert keys == [11, 12, 13, 14, 15]
        assert producer.run(once=True).rows == 5
        last = producer.last_progress
        assert last is not None and last["numInputRows"] == 5 and last["durationMs"]["commit"] >= 0
        assert len(producer.recent_progress) == 2
    with foodstream.Consumer(config) as consumer:
        taken = consumer.run(available_now=True)
        assert (taken.rows, taken.accepted, taken.rejected) == (15, 15, 0)
        assert sum(progress["sink"]["numOutputRows"] for progress in consumer.recent_progress) == 15
        last = consumer.last_progress
        assert last is not None and last["batchId"] == taken.commit
    report = foodstream.verify_pipeline(config)
    assert report, str(report)
    assert report.missing == [] and report.facts["lake_rows"] == 15
    assert "PIPELINE HEALTHY" in str(report)
    assert "\n" not in repr(report) and len(report._repr_html_()) < 50_000


def test_a_later_run_goes_on_where_the_one_before_stopped_wherever_that_was_told_to_begin(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Producer(pipeline.config, start_from="2025-11-18 11:00:00.000000|5") as producer:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(producer.run)
            eventually(lambda: producer.last_progress is not None, "rows to be published again")
            producer.stop()
            assert running.result().rows == 5
        # A run that was stopped has let go of its connections: this one begins anew.
        assert producer.run(once=True).rows == 0


def test_a_batch_is_committed_by_asking_for_the_next_and_not_by_leaving(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    for leave in (lambda: None, lambda: 1 / 0):
        with (
            contextlib.suppress(ZeroDivisionError),
            foodstream.Consumer(pipeline.config, available_now=True) as consumer,
        ):
            next(iter(consumer))
            leave()
        assert len(foodstream.read(pipeline.config)) == 0, "left by close"
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        for batch in consumer:
            assert len(batch) == 10 and len(batch.accepted) == 10 and len(batch.rejected) == 0
            assert sum(to - start for start, to in batch.offsets.values()) >= 10
            break
        assert len(foodstream.read(pipeline.config)) == 0, "left by break"

        with pytest.raises(ZeroDivisionError):
            for again in consumer:
                assert (again.id, len(again)) == (batch.id, 10), "what was not committed comes again"
                1 / 0  # noqa: B018
        assert len(foodstream.read(pipeline.config)) == 0, "left by an exception"
        with pytest.raises(foodstream.FoodstreamError, match="no longer open"):
            batch.commit()

        assert [len(batch) for batch in consumer] == [10]
        assert len(foodstream.read(pipeline.config)) == 10
        with pytest.raises(foodstream.FoodstreamError, match="no longer open"):
            again.commit()
    foodstream.insert_test_orders(pipeline.config, count=3)
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        batch = next(iter(consumer))
        assert batch.commit() is True
        assert len(foodstream.read(pipeline.config)) == 13
    assert foodstream.verify_pipeline(pipeline.config)


def test_a_stop_while_the_body_of_a_loop_runs_commits_its_batch_and_ends_the_loop(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config) as consumer:
        seen = []
        for batch in consumer:  # without bounds: only the stop ends it
            seen.append(len(batch))
            stopper = threading.Thread(target=consumer.stop)
            stopper.start()
            stopper.join()
        assert seen == [10]
        assert len(foodstream.read(pipeline.config)) == 10
        foodstream.insert_test_orders(pipeline.config, count=2)
        foodstream.Producer(pipeline.config).run(once=True)
        assert consumer.run(available_now=True).accepted == 2, "the stop was for the loop alone"
        foodstream.insert_test_orders(pipeline.config, count=3)
        foodstream.Producer(pipeline.config).run(once=True)
        again = []
        for batch in consumer:
            again.append(len(batch))
            consumer.stop()
        assert len(again) == 1, "and for that one alone"
    assert foodstream.verify_pipeline(pipeline.config)


def test_an_invalid_row_is_handed_over_with_its_reason(pipeline: Any) -> None:
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)"
        " VALUES ('N', 'R', 'I', -1, 'PLACED')"
    )
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        batches = list(consumer)
    rejected = polars.concat([polars.DataFrame(batch.rejected) for batch in batches])
    assert rejected.height == 1
    assert "amount" in str(rejected.rows())


def test_every_reader_takes_the_rows_as_they_are(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    foodstream.Consumer(pipeline.config).run(once=True)
    rows = foodstream.read(pipeline.config)
    table = pyarrow.table(rows)
    assert table.num_rows == len(rows) == 10
    assert table.schema.field("amount").type == pyarrow.decimal128(10, 2)
    assert table.schema.field("created_at").type == pyarrow.timestamp("us", "UTC")
    assert polars.DataFrame(rows)["order_id"].sort().to_list() == list(range(1, 11)), "a second reading"
    assert (
        duckdb.from_arrow(table).aggregate("sum(amount)").fetchall()
        == duckdb.sql(f"SELECT sum(amount) FROM read_parquet('{pipeline.lake}/**/*.parquet')").fetchall()
    )
    assert len(pyarrow.record_batch(rows)) == 10
    narrow = pyarrow.RecordBatchReader.from_stream(rows, schema=table.schema)
    assert narrow.read_all().equals(table)
    day = datetime.date(2025, 11, 18)
    assert len(foodstream.read(pipeline.config, date=day)) == len(foodstream.read(pipeline.config, date="2025-11-18"))
    assert len(foodstream.read(pipeline.config, date="1999-01-01")) == 0
    assert len(foodstream.read(pipeline.lake)) == 10
    with pytest.raises(foodstream.ConfigError, match="YYYY-MM-DD"):
        foodstream.read(pipeline.config, date="yesterday")


def test_a_lake_without_rows_has_the_configured_columns(pipeline: Any) -> None:
    rows = foodstream.read(pipeline.config)
    assert polars.DataFrame(rows).height == 0
    assert rows.columns[0] == "order_id"


def test_a_batch_of_many_partitions_shows_some_of_them(pipeline: Any) -> None:
    pipeline.config["kafka"]["num_partitions"] = 12
    foodstream.insert_test_orders(pipeline.config, count=60)
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config, available_now=True) as consumer:
        batch = max(consumer, key=lambda batch: len(batch.offsets))
    (shown,) = re.findall("<td>offsets</td><td>(.*?)</td>", batch._repr_html_())
    first = [f"{partition}: {start} to {end}" for partition, (start, end) in sorted(batch.offsets.items())[:8]]
    assert len(batch.offsets) > 8 and shown == ", ".join([*first, f"{len(batch.offsets) - 8} partitions more"])


def test_a_loss_says_what_is_gone(pipeline: Any) -> None:
    config, brokers = pipeline.config, pipeline.database.services.brokers
    config["kafka"]["num_partitions"] = 1
    foodstream.Producer(config).run(once=True)
    (position,) = foodstream.Consumer(config).run(once=True).offsets.values()
    foodstream.insert_test_orders(config, count=3)
    published = foodstream.Producer(config).run(once=True).cursor
    ((_, end),) = topics.bounds(brokers, pipeline.topic).values()
    topics.delete_before(brokers, pipeline.topic, {0: end})
    with pytest.raises(foodstream.DataLossError, match="failOnDataLoss") as offsets:
        foodstream.Consumer(config).run(once=True)
    assert not offsets.value.retriable
    assert (offsets.value.topic, offsets.value.offsets) == (pipeline.topic, {0: (position, end)})
    assert (offsets.value.cursors, offsets.value.commits) == (None, None)

    ahead = "2999-01-01 00:00:00.000000|99"
    pipeline.state_file.write_text(ahead, encoding="utf-8")
    with pytest.raises(foodstream.DataLossError, match="ahead of the published cursor") as cursors:
        foodstream.Producer(config).run(once=True)
    assert (cursors.value.cursors, cursors.value.offsets) == ((published, ahead), None)

    commits = Path(config["streaming"]["checkpoint_location"]) / "commits"
    min(commits.rglob("*.json")).unlink()
    with pytest.raises(foodstream.DataLossError, match="rebuild-log") as records:
        foodstream.Consumer(config).run(once=True)
    assert (records.value.commits, records.value.topic) == ((0, 0), None)
    assert foodstream.DataLossError("by hand").offsets is None


_PANICKING = """
import json, sys
from foodstream import _core
_core.main(["foodstream", "version"])  # arms what FAILPOINTS names
config = json.loads(sys.argv[1])
_core.Producer(config).run(once=True)
consumer = _core.Consumer(config)
try:
    consumer.run(once=True)
except RuntimeError as error:
    print(error)
print(consumer.run(once=True).accepted)
"""


def test_a_panic_is_a_runtime_error_that_asks_for_a_report_and_the_object_works_on(pipeline: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PANICKING, json.dumps(pipeline.config)],
        env={**os.environ, "FAILPOINTS": "ingest::gathered=1*panic->off"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, accepted = done.stdout.splitlines()[-2:]
    assert said.startswith("this is a bug in foodstream, please report it: ") and "ingest::gathered" in said
    assert accepted == "10"


def test_an_object_that_is_let_go_while_its_threads_log_holds_nobody_up(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    with caplog.at_level(logging.DEBUG, logger="foodstream"):
        for _ in range(3):
            consumer = foodstream.Consumer(pipeline.config)
            # The first batch waits a moment only, and partitions answer one by one.
            assert 0 < len(next(iter(consumer))) <= 10
            del consumer
        foodstream.Consumer(pipeline.config).run(once=True)
    assert any(record.name == "foodstream.consumer" for record in caplog.records)
    assert foodstream.verify_pipeline(pipeline.config)


def test_a_bounded_loop_that_came_to_its_end_has_left_the_group_while_its_batches_are_kept(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)
    consumer = foodstream.Consumer(pipeline.config, available_now=True)
    kept = list(consumer)
    assert sum(map(len, kept)) == 10
    foodstream.insert_test_orders(pipeline.config, count=30)
    foodstream.Producer(pipeline.config).run(once=True)
    # All partitions have rows, and a member that is still there would keep some of them.
    assert foodstream.Consumer(pipeline.config, available_now=True, once_wait=20).run().accepted == 30
    assert consumer.run().accepted == 0
