"""foodstream streaming from the table, and who sees the rows that are inserted meanwhile.

Every row is accounted for: one that is never seen, is seen twice, or holds another time than the one it was inserted
with, raises ``Failed``.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from foodstream._stack.process import wait_until

from compare import product
from compare.probes import write_orders
from compare.probes.sightings import LakeWatcher, TopicReader
from compare.probes.stream import Stream
from compare.probes.write_orders import Schedule, Transaction
from compare.process import Failed, Usage, tail
from compare.services import Services

# Beyond poll and trigger: for a start, and for rows that take longer than both explain.
_PATIENCE_SEC = 60.0


@dataclass(frozen=True)
class Rhythm:
    """How foodstream is set. Without a trigger no consumer runs, and rows are seen on the topic."""

    poll_sec: float
    # None: the default.
    margin_ms: int | None = None
    trigger_ms: int | None = None


@dataclass(frozen=True)
class Passage:
    """One row: when it was meant to be inserted, was acknowledged as committed, and was seen (monotonic ns)."""

    intended_ns: int
    committed_ns: int
    seen_ns: int


class OnTopic:
    """Rows as a reader of the topic sees them."""

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader

    def rows(self) -> int:
        """How many so far."""
        return len(self._reader.seen)

    def all(self) -> Iterator[tuple[int, int, int]]:
        """Of each row its id, the time that stands in it, and when it was seen."""
        for seen_ns, value in self._reader.seen:
            order = json.loads(value)
            yield order["order_id"], int(order["customer_name"]), seen_ns


class InLake:
    """Rows in files, which are opened only after the run; until then the consumer's log tells how many there are."""

    def __init__(self, watcher: LakeWatcher, consumer: Stream) -> None:
        self._watcher = watcher
        self._consumer = consumer

    def rows(self) -> int:
        """How many so far."""
        done = self.commits()
        if len(self._watcher.seen) < sum(commit["files"] for commit in done):
            return 0
        return sum(commit["accepted"] for commit in done)

    def all(self) -> Iterator[tuple[int, int, int]]:
        """Of each row its id, the time that stands in it, and when it was seen."""
        seen = {str(path): seen_ns for seen_ns, path in self._watcher.seen}
        rows = duckdb.connect().execute(
            "SELECT filename, order_id, customer_name FROM read_parquet($files, filename => true)",
            {"files": list(seen)},
        )
        for path, order_id, intended in rows.fetchall():
            yield order_id, int(intended), seen[path]

    def commits(self) -> Sequence[Mapping[str, Any]]:
        """What was logged of each commit that had messages: ``accepted``, ``files``, ``stage_ms``, ``commit_ms``."""
        return [event["fields"] for event in self._consumer.events() if event.get("operation") == "commit"]

    def bytes(self) -> int:
        """Of all files so far."""
        return sum(path.stat().st_size for _, path in self._watcher.seen)


class Pipeline:
    """Inserts rows and follows them to where ``sight`` sees them; made by ``pipeline``."""

    def __init__(self, dsn: str, rhythm: Rhythm, streams: Sequence[Stream], sight: OnTopic | InLake) -> None:
        self.sight = sight
        self._dsn = dsn
        self._rhythm = rhythm
        self._streams = streams
        self._inserted: dict[int, Transaction] = {}

    def insert(self, schedule: Schedule) -> tuple[list[Transaction], Usage]:
        """Inserts and waits until all rows are seen; returns what the writer did and what foodstream took for it."""
        cpu, begun = self._cpu_sec(), time.monotonic()
        words = [sys.executable, write_orders.__file__, json.dumps(asdict(schedule)), self._dsn]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"the writer of orders failed: {done.stderr.strip().rpartition(chr(10))[2]}")
        transactions = [Transaction(**transaction) for transaction in json.loads(done.stdout)]
        for number, transaction in enumerate(transactions):
            first = schedule.first_id + number * schedule.rows
            self._inserted.update(dict.fromkeys(range(first, first + schedule.rows), transaction))
        self._wait_for_rows()
        return transactions, Usage(
            wall_sec=time.monotonic() - begun,
            cpu_sec=self._cpu_sec() - cpu,
            peak_bytes=sum(stream.peak_bytes() for stream in self._streams),
        )

    def passages(self) -> Mapping[int, Passage]:
        """Every row inserted so far, by its id."""
        passages: dict[int, Passage] = {}
        for order_id, intended_ns, seen_ns in self.sight.all():
            row = self._inserted.get(order_id)
            if order_id in passages or row is None or row.intended_ns != intended_ns:
                raise Failed(f"order {order_id} was seen twice, or is not as it was inserted")
            passages[order_id] = Passage(intended_ns, row.committed_ns, seen_ns)
        missing = len(self._inserted) - len(passages)
        if missing:
            raise Failed(f"{missing} of {len(self._inserted)} orders were never seen")
        return passages

    def _wait_for_rows(self) -> None:
        rows = len(self._inserted)
        trigger_sec = (self._rhythm.trigger_ms or 0) / 1_000
        timeout_sec = self._rhythm.poll_sec + trigger_sec + _PATIENCE_SEC
        wait_until(lambda: self.sight.rows() >= rows or any(stream.ended for stream in self._streams), timeout_sec)
        for stream in self._streams:
            stream.check()
        if self.sight.rows() < rows:
            logs = "\n".join(tail(stream.log, 5) for stream in self._streams)
            raise Failed(f"{self.sight.rows()} of {rows} orders were seen after {timeout_sec:.0f} s:\n{logs}")

    def _cpu_sec(self) -> float:
        return sum(stream.cpu_sec() for stream in self._streams)


@contextlib.contextmanager
def pipeline(services: Services, rhythm: Rhythm, topic: str, folder: Path) -> Iterator[Pipeline]:
    """A producer, and a consumer if there is a trigger, over an emptied table and a new topic.

    Begins when a first row, with the id 1, has gone all the way.
    """
    services.sql("TRUNCATE orders")
    services.create_topic(topic)
    config = product.configuration(folder, services.postgres, services.brokers, topic, changes(rhythm))
    with contextlib.ExitStack() as ends:
        streams = []
        sight: OnTopic | InLake
        if rhythm.trigger_ms is None:
            sight = OnTopic(ends.enter_context(TopicReader(services.brokers, topic)))
        else:
            consumer = ends.enter_context(Stream("consumer", config))
            sight = InLake(ends.enter_context(LakeWatcher(folder / "lake")), consumer)
            streams.append(consumer)
        streams.append(ends.enter_context(Stream("producer", config)))
        made = Pipeline(services.dsn, rhythm, streams, sight)
        made.insert(Schedule(first_id=1, rows=1, transactions=1, slot_ns=1, seed=0))
        yield made


def changes(rhythm: Rhythm) -> dict[str, dict[str, object]]:
    """Page and micro-batch as in the documents' configuration, the rhythm as told, everything else the default."""
    cdc: dict[str, object] = {"poll_interval_sec": rhythm.poll_sec, "batch_limit": 1000}
    consumer: dict[str, object] = {"maxOffsetsPerTrigger": 1000}
    if rhythm.margin_ms is not None:
        cdc["begin_margin_ms"] = rhythm.margin_ms
    if rhythm.trigger_ms is not None:
        consumer["trigger_interval_ms"] = rhythm.trigger_ms
    return {"cdc": cdc, "consumer": consumer}
