"""The oracles of the fault harness find what a liar would do to what the product wrote, and call it by its name."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import topics
from torture import commits, oracles
from torture.ledger import Ledger
from torture.load import INVALID, ONE, POISONS
from torture.watch import CANARY, POISON, Watch

# Its functions are made when it is imported, so no checker of types knows them.
pc: Any = pyarrow.compute

# What a liar does to a good lake, and what the oracles must call it. Each gets the copy of a lake, a log, a quarantine.


@dataclass(frozen=True)
class Kept(oracles.Pipeline):
    """A pipeline whose topic has been read once and for all."""

    kept: tuple[topics.Message, ...] = ()

    def messages(self) -> Iterable[topics.Message]:
        return self.kept


class Copy:
    """The outputs of a pipeline, to be tampered with."""

    def __init__(self, good: Kept, folder: Path) -> None:
        self.pipeline = replace(
            good, lake=folder / "lake", quarantine=folder / "quarantine", checkpoint=folder / "checkpoint"
        )
        shutil.copytree(good.lake, self.pipeline.lake)
        shutil.copytree(good.quarantine, self.pipeline.quarantine)
        shutil.copytree(good.checkpoint, self.pipeline.checkpoint)

    @property
    def file(self) -> Path:
        """The file of the lake with the most rows."""
        return max(oracle.files(self.pipeline.lake), key=oracle.rows)

    def rewrite(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        pq.write_table(change(pq.ParquetFile(path).read()), path)

    def record(self, number: int, change: Callable[[dict[str, Any]], None]) -> None:
        path, record = list(commits.records(self.pipeline.checkpoint))[number]
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")

    def found(self) -> set[str]:
        """The kinds of findings, by the oracles that need no product."""
        ledger = Ledger(0, "")
        for look in (oracles.both_hops, oracles.rejects, oracles.log):
            look(self.pipeline, ledger)
        return {finding.oracle for finding in ledger.findings}


def with_value(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value(values[row]) if callable(value) else value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    return change


def of_key(root: Path, key: int) -> tuple[Path, int]:
    """File and row of an order."""
    for path in oracle.files(root):
        keys = pq.ParquetFile(path).read(columns=["order_id"])["order_id"].to_pylist()
        if key in keys:
            return path, keys.index(key)
    raise AssertionError(f"order {key} is not in {root}")


def accept_an_invalid_row(copy: Copy) -> None:
    path, row = of_key(copy.pipeline.quarantine, an_invalid_key(copy))
    reject = pq.ParquetFile(path).read().slice(row, 1)
    copy.rewrite(path, lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    copy.rewrite(copy.file, lambda table: pa.concat_tables([table, reject.select(table.column_names)]))


def an_invalid_key(copy: Copy) -> int:
    """An order in quarantine with a time, so that it could lie in the lake."""
    rows = oracle.quarantine(copy.pipeline.quarantine)
    keys = [row["order_id"] for row in rows if (row["raw_key"] or b"").isdigit()]
    return int(keys[0])


def reject_a_valid_row(copy: Copy) -> None:
    key = pq.ParquetFile(copy.file).read()["order_id"][0].as_py()
    copy.rewrite(copy.file, lambda rows: rows.slice(1))
    (message,) = (found for found in copy.pipeline.messages() if found.key == str(key).encode())
    told = {"raw_key": message.key, "raw_value": message.value, "offset": message.offset}

    def with_it(rejects: pa.Table) -> pa.Table:
        one = rejects.slice(0, 1)
        for column, value in {**told, "partition": message.partition}.items():
            one = with_value(column, 0, value)(one)
        return pa.concat_tables([rejects, one])

    copy.rewrite(oracle.files(copy.pipeline.quarantine)[0], with_it)


def is_poison(rejects: pa.Table) -> Any:
    return pc.starts_with(pc.cast(rejects["raw_key"], pa.string()), POISON.decode())


def drop_the_poison(copy: Copy) -> None:
    for path in oracle.files(copy.pipeline.quarantine):
        copy.rewrite(path, lambda rejects: rejects.filter(pc.invert(is_poison(rejects))))


def move(copy: Copy) -> None:
    other = copy.pipeline.lake / "date=2001-01-01"
    other.mkdir()
    copy.file.rename(other / copy.file.name)


def drop_a_record(copy: Copy) -> None:
    list(commits.records(copy.pipeline.checkpoint))[1][0].unlink()


def moved_cursor(record: dict[str, Any]) -> None:
    record["ranges"][0]["to"] += 1


def other_totals(record: dict[str, Any]) -> None:
    for groups in record["totals"].values():
        groups[0]["columns"]["amount"]["sum"] = "1.00"


LIARS: dict[str, tuple[Callable[[Copy], Any], set[str]]] = {
    "a file is gone": (lambda copy: copy.file.unlink(), {"lost", "totals"}),
    "a row is gone": (lambda copy: copy.rewrite(copy.file, lambda rows: rows.slice(1)), {"lost", "totals"}),
    "a row is there twice": (
        lambda copy: copy.rewrite(copy.file, lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        {"repeated", "totals"},
    ),
    "a file is there twice": (
        lambda copy: shutil.copy(copy.file, copy.file.with_name("part-1.parquet")),
        {"repeated", "commits"},
    ),
    "a row from nowhere": (
        lambda copy: copy.rewrite(
            copy.file, lambda rows: pa.concat_tables([rows, with_value("order_id", 0, 1 << 40)(rows.slice(0, 1))])
        ),
        {"invented", "totals"},
    ),
    "a cent more": (
        lambda copy: copy.rewrite(copy.file, with_value("amount", 0, lambda amount: amount + Decimal("0.01"))),
        {"altered", "totals"},
    ),
    "another text": (
        lambda copy: copy.rewrite(copy.file, with_value("item", 0, lambda item: item + " ")),
        {"altered"},
    ),
    "a microsecond later": (
        lambda copy: copy.rewrite(
            copy.file, with_value("created_at", 0, lambda at: at.replace(microsecond=(at.microsecond + 1) % 1_000_000))
        ),
        {"altered"},
    ),
    "a text that is null": (lambda copy: copy.rewrite(copy.file, with_value("item", 0, None)), {"altered"}),
    "another day's folder": (move, {"altered", "commits", "totals"}),
    "an invalid row accepted": (accept_an_invalid_row, {"invalid accepted", "totals"}),
    "a valid row rejected": (reject_a_valid_row, {"valid rejected", "totals"}),
    "poison thrown away": (drop_the_poison, {"invalid accepted", "totals"}),
    "poison kept twice": (
        lambda copy: copy.rewrite(
            oracle.files(copy.pipeline.quarantine)[0],
            lambda rows: pa.concat_tables([rows, rows.filter(is_poison(rows))]),
        ),
        {"repeated", "totals"},
    ),
    "another reason": (
        lambda copy: copy.rewrite(
            of_key(copy.pipeline.quarantine, an_invalid_key(copy))[0],
            with_value("reasons", of_key(copy.pipeline.quarantine, an_invalid_key(copy))[1], "too_deep"),
        ),
        {"other reasons"},
    ),
    "other bytes of a reject": (
        lambda copy: copy.rewrite(
            of_key(copy.pipeline.quarantine, an_invalid_key(copy))[0], with_value("raw_value", 0, b"{}")
        ),
        {"altered"},
    ),
    "a cursor that has moved": (lambda copy: copy.record(-2, moved_cursor), {"commits"}),
    "other totals": (lambda copy: copy.record(-1, other_totals), {"totals"}),
    "other counts": (lambda copy: copy.record(-1, lambda record: record["counts"].update(input=1)), {"totals"}),
    "a commit is gone": (drop_a_record, {"commits", "totals"}),
}


@pytest.fixture
def good(pipeline: Any) -> oracles.Pipeline:
    """A pipeline that has carried valid rows, every invalid one, and poison, in several commits."""
    with pipeline.database.administer() as connection:
        connection.execute("ALTER TABLE orders DROP CONSTRAINT orders_order_status_check")
        for column in ("customer_name", "restaurant_name", "item", "amount"):
            connection.execute(f"ALTER TABLE orders ALTER {column} DROP NOT NULL")
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    topics.produce(
        pipeline.database.services.brokers,
        pipeline.topic,
        [(b"%s %d" % (POISON, number), value) for number, value in enumerate(POISONS)],
    )
    with pipeline.database.connect() as connection:
        for row in INVALID:
            connection.execute(ONE, row)
        connection.execute(oracles.SOME_ROWS)
    for _ in range(2):
        pipeline.run("producer", "--once")
        pipeline.run("consumer", "--once")
        pipeline.database.sql(oracles.SOME_ROWS)
    pipeline.run("producer", "--once")
    pipeline.run("consumer", "--once")
    return oracles.Pipeline(
        connect=pipeline.database.connect,
        brokers=pipeline.database.services.brokers,
        topic=pipeline.topic,
        lake=pipeline.lake,
        quarantine=pipeline.quarantine,
        checkpoint=Path(pipeline.config["streaming"]["checkpoint_location"]),
        run=lambda *words: pipeline.run(*words, expect=None),
    )


def test_the_oracles_are_content_with_what_the_product_wrote_and_find_each_lie_about_it(
    good: oracles.Pipeline, tmp_path: Path
) -> None:
    ledger = Ledger(0, "")
    for look in (oracles.first_hop, oracles.both_hops, oracles.rejects, oracles.log, oracles.own_verdict):
        look(good, ledger)
    assert not ledger.findings
    assert ledger.rows["poison in the topic"] == len(POISONS)
    assert ledger.checked["commits, their chain and their totals"] >= 3
    kept = Kept(**vars(good), kept=tuple(good.messages()))
    found = {}
    for name, (lie, _) in LIARS.items():
        copy = Copy(kept, tmp_path / name)
        lie(copy)
        found[name] = copy.found()
    assert found == {name: kinds for name, (_, kinds) in LIARS.items()}

    # And what lies between the two: a message that came twice, one too few, one too many.
    (first,) = (message for message in kept.messages() if message.key == b"1")
    with good.connect() as connection:
        connection.execute("DELETE FROM orders WHERE order_id = 2")
        connection.execute(oracles.SOME_ROWS)
    topics.produce(good.brokers, good.topic, [(first.key, first.value)])
    oracles.first_hop(good, ledger)
    counts = Counter(finding.oracle for finding in ledger.findings)
    assert counts == {"published twice": 1, "published and not in the table": 1, "not published": 100}
    # The product's own check sees the same, and is heard.
    oracles.own_verdict(good, ledger)
    assert ledger.counted("verify") == 1


def test_a_consumer_that_passes_over_lost_records_is_found(good: oracles.Pipeline) -> None:
    silent = Ledger(0, "")

    def accepts_all(command: str, *words: str) -> Any:
        more = ["--set", "consumer.failOnDataLoss=false"] if command == "consumer" else []
        return good.run(command, *words, *more)

    oracles.loud(replace(good, run=accepts_all), silent)
    assert silent.counted("loud") == 2
    said = Ledger(0, "")
    oracles.loud(good, said)
    assert not said.findings


def a_file(path: Path, *rows: tuple[int, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    keys, names = zip(*rows, strict=True)
    raw = [str(key).encode() for key in keys]
    pq.write_table(pa.table({"order_id": keys, "customer_name": names, "raw_key": raw}), new)
    new.replace(path)


def test_the_reader_that_globs_sees_canaries_and_what_vanishes_changes_repeats_or_is_torn(tmp_path: Path) -> None:
    ledger = Ledger(0, "")
    watch = Watch(tmp_path / "lake", tmp_path / "quarantine", ledger)
    watch.look()
    day = tmp_path / "lake" / "date=2025-11-18"
    a_file(day / "a.parquet", (1, "c"), (2, f"{CANARY}7"))
    a_file(day / "b.parquet", (3, "c"))
    a_file(tmp_path / "quarantine" / "date=2025-11-18" / "a.parquet", (4, "c"))
    watch.look()
    assert set(watch.seen) == {7}
    assert watch.rows == {"lake": 3, "quarantine": 1}
    assert not ledger.findings

    (day / "a.parquet").unlink()
    watch.look()
    assert [finding.what.split()[-2:] for finding in ledger.findings] == [["is", "gone"]]
    a_file(day / "b.parquet", (3, "c"), (5, "another file under the same name"))
    watch.look()
    assert "bytes" in ledger.findings[-1].what or "rows" in ledger.findings[-1].what
    a_file(day / "c.parquet", (3, "c"))
    watch.look()
    assert ledger.counted("repeated") == 1
    (day / "torn.parquet").write_bytes(b"PAR1 and no more")
    watch.look()
    assert "cannot be read" in ledger.findings[-1].what
