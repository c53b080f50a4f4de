"""Producers: the table ``orders`` into a fresh topic of three partitions.

Each publishes every row as one JSON message under its key; what is on the topic after a run is read back and held
against the table. foodstream does so exactly once, in transactions that hold its position; the others at least once.
``COPY`` is the limit: what PostgreSQL takes to hand out the rows in order.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from foodstream._stack.postgres import binaries

from compare import product
from compare.contest import Contestant, Outcome, Sample, Spread, contest, ratios, spread, wall
from compare.debezium import DEBEZIUM_VERSION, DEFAULT, TUNED, Debezium, Settings
from compare.jars import Unavailable
from compare.packages import missing, version
from compare.process import Failed, tail, without_settings
from compare.process import run as run_command
from compare.sections import SPEED, Column, Goal, Options, Say, Section, extra
from compare.services import PARTITIONS, Services

BATCH_LIMIT = 10_000
# The documents' limit of a page, and the rows of a transaction whose commit is timed.
THOUSAND = 1_000
# Of the hand-written producer: who makes the JSON, and rows a page. The fastest is taken.
JSON_BY = ("server", "orjson")
LIMITS = (1_000, 10_000, 100_000)
# Pages of 1,000 rows that are timed one by one, each a transaction.
PAGES_WARM_UP = 50
PAGES_COUNTED = 500

FOODSTREAM = "foodstream"
FOODSTREAM_DOCUMENTS = "foodstream, batch_limit 1,000"
FOODSTREAM_SMALL = "foodstream, transactions of 1,000 rows"
PSYCOPG = "psycopg → confluent-kafka"
DEBEZIUM = "Debezium, flat and tuned"
DEBEZIUM_DEFAULT = "Debezium, defaults, one run"
COPY = "COPY"

_PEERS = Path(__file__).with_name("peers")
_PROBES = Path(__file__).with_name("probes")
_REQUEST_SEC = 30.0
# Of a topic that was made just now.
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)
_FROM_CONNECTOR = "from_connector_sec"
_TRANSACTION = "transaction_sec"
# Nobody writes files here.
COLUMNS = (
    *(column for column in SPEED if column.title != "bytes/row"),
    Column("s from connector's start", extra(_FROM_CONNECTOR)),
    Column("ms/transaction", extra(_TRANSACTION, 1_000)),
)
NOTES = (
    "All publish the same warm table to three partitions of one broker, with lz4 but for Debezium's defaults; what is "
    "on the topic is read back and equals the table, column by column (after Debezium's defaults it is only counted).",
    "foodstream publishes in transactions that hold its position, so that nothing comes twice after a kill; the others "
    "publish idempotently and may repeat rows after one.",
    "Debezium is counted until the last row is in the topic; its ratio is made from the start of the connector, "
    "without the start of Kafka Connect.",
    "`ms/transaction` is the whole run over its transactions of 1,000 rows: reading, sending and committing overlap.",
)


def run(services: Services, options: Options, say: Say) -> Section:
    """Fills the table, tunes the hand-written producer, and lets all publish it in turn."""
    services.fill_table(options.size)
    with closing(Topics(services)) as topics:
        return _measure(Bench(services, options, topics), say)


def _measure(bench: "Bench", say: Say) -> Section:
    services, options = bench.services, bench.options
    expected = _fingerprint("table", services.dsn)
    grid = bench.tune(say)
    contestants = [
        bench.foodstream(FOODSTREAM, {"batch_limit": BATCH_LIMIT}),
        bench.foodstream(FOODSTREAM_DOCUMENTS, {"batch_limit": THOUSAND}),
        bench.foodstream(FOODSTREAM_SMALL, {"batch_limit": THOUSAND, "transaction_max_rows": THOUSAND}),
        bench.psycopg(grid),
        bench.copy(),
    ]

    def compete() -> list[Sample]:
        return contest(contestants, options.rounds, options.seed, options.folder / "publish", say, expected=expected)

    try:
        with Debezium(services) as debezium:
            contestants.append(bench.debezium(debezium, DEBEZIUM, TUNED))
            samples = compete()
            default = bench.debezium(debezium, DEBEZIUM_DEFAULT, DEFAULT)
            contestants.append(default)
            samples += contest([default], 1, options.seed, options.folder / "default", say, warm_up=False)
    except Unavailable as reason:
        contestants.append(Contestant(DEBEZIUM, "", bench.never, missing=str(reason)))
        samples = compete()
    pages = [bench.pages(number) for number in range(options.rounds)]
    page, commit = (spread([statistics.median(times[part]) for times in pages]) for part in ("page", "commit"))
    say(f"pages of 1,000 rows, each a transaction: median {page.median:.2f} ms, their commits {commit.median:.0f} ms")
    return Section(
        title=f"Producer: PostgreSQL table → Kafka topic, {options.size.rows:,} {options.size.kind} orders",
        contestants=contestants,
        samples=samples,
        goals=_goals(samples, commit),
        columns=COLUMNS,
        notes=NOTES,
        facts={"table": expected, "psycopg_wall_sec": grid, "page_of_1000_rows_ms": pages},
    )


class Topics:
    """Topics of one run each, made before and deleted after what is timed of it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = Consumer({"bootstrap.servers": services.brokers, "group.id": "publish"})
        self._numbers = count(1)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """An empty topic, as long as the block; its name has the form that Debezium gives."""
        topic = f"bench_publish_{next(self._numbers)}.public.orders"
        self._services.create_topic(topic)
        try:
            yield topic
        finally:
            # foodstream's topic of positions holds its name.
            for name in self._reader.list_topics(timeout=_REQUEST_SEC).topics:
                if topic in name:
                    self._services.delete_topic(name)

    def close(self) -> None:
        """Ends the connection, before the broker does."""
        self._reader.close()

    def messages(self, topic: str) -> int:
        """How many are on a topic without transactions; none as long as its leaders are not known."""
        try:
            ends = [
                self._reader.get_watermark_offsets(TopicPartition(topic, partition), _REQUEST_SEC)[1]
                for partition in range(PARTITIONS)
            ]
        except KafkaException as error:
            if error.args[0].code() in _NOT_YET:
                return 0
            raise Failed(f"the end of {topic} cannot be asked for: {error.args[0].str()}") from error
        return sum(ends)


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    services: Services
    options: Options
    topics: Topics

    def foodstream(self, name: str, cdc: Mapping[str, int]) -> Contestant:
        """The product with these settings of ``cdc``, and the shipped ones otherwise."""
        said = ", ".join(f"{key} {value:,}" for key, value in cdc.items())

        def publish(folder: Path) -> Outcome:
            with self.topics.fresh() as topic:
                file = self._configuration(folder, topic, cdc)
                usage = product.foodstream(folder, "producer", "--once", "-q", "--report", "json", "--config", file)
                report = json.loads(tail(folder / "foodstream.log", 1))
                small = cdc.get("transaction_max_rows") == THOUSAND
                figures = {_TRANSACTION: usage.wall_sec / report["transactions"]} if small else {}
                return Outcome(usage, report["rows"], fingerprint=self._on(topic), extra=figures)

        return Contestant(name, f"{version('foodstream')}; exactly once; {said}", publish)

    def psycopg(self, grid: Mapping[str, float]) -> Contestant:
        """The hand-written producer at the fastest point of ``grid``."""
        if not grid:
            return Contestant(PSYCOPG, "", self.never, missing("psycopg", "confluent-kafka"))
        best = min(grid, key=grid.__getitem__)
        tried = ", ".join(f"{point}: {seconds:.1f} s" for point, seconds in grid.items())
        left_out = missing("orjson")
        tried += "" if left_out is None else f"; without orjson: {left_out}"
        settings = (
            f"psycopg {version('psycopg')}, confluent-kafka {version('confluent-kafka')}; idempotent, acks all, lz4, "
            f"linger 50 ms; JSON and LIMIT: {best} (each tried once: {tried}); next page read ahead, no position kept"
        )
        return Contestant(PSYCOPG, settings, lambda folder: self._psycopg(best, folder))

    def tune(self, say: Say) -> dict[str, float]:
        """Wall seconds of the hand-written producer by who makes the JSON and by its page; empty if it cannot run."""
        grid: dict[str, float] = {}
        if missing("psycopg", "confluent-kafka") is not None:
            return grid
        for json_by in JSON_BY if missing("orjson") is None else JSON_BY[:1]:
            for limit in LIMITS:
                point = f"{json_by} {limit}"
                folder = self.options.folder / f"tune-{json_by}-{limit}"
                folder.mkdir(parents=True)
                grid[point] = self._psycopg(point, folder).usage.wall_sec
                say(f"tuning: {PSYCOPG}, JSON and LIMIT {point}: {grid[point]:.2f} s")
        return grid

    def debezium(self, debezium: Debezium, name: str, settings: Settings) -> Contestant:
        """A snapshot by Kafka Connect."""

        def publish(folder: Path) -> Outcome:
            rows = self.options.size.rows
            with self.topics.fresh() as topic:
                taken = debezium.snapshot(settings, topic, lambda: self.topics.messages(topic) >= rows, folder)
                found = self._on(topic) if settings is TUNED else None
                return Outcome(taken.usage, rows, fingerprint=found, extra={_FROM_CONNECTOR: taken.from_connector_sec})

        return Contestant(name, f"{DEBEZIUM_VERSION} on Connect; {settings.described()}", publish)

    def copy(self) -> Contestant:
        """The limit: the same rows in the same order, handed to a client that drops them."""
        query = "SELECT * FROM orders ORDER BY created_at, order_id"
        statement = f"\\copy ({query}) to '/dev/null' (format binary)"

        def read(folder: Path) -> Outcome:
            log = folder / "psql.log"
            command: list[str | Path] = [
                binaries() / "psql",
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                self.services.dsn,
            ]
            usage = run_command(command, log, folder=folder)
            return Outcome(usage, int(tail(log, 1).removeprefix("COPY ")))

        return Contestant(COPY, f"psql: {statement}", read)

    def pages(self, number: int) -> dict[str, list[float]]:
        """Milliseconds foodstream takes to read, publish and commit 1,000 rows, and to commit them, page by page."""
        warm_up, counted = self._pages_counted()
        folder = self.options.folder / f"pages-{number}"
        folder.mkdir(parents=True)
        with self.topics.fresh() as topic:
            file = self._configuration(folder, topic, {"batch_limit": THOUSAND})
            log = folder / "pages.log"
            command: list[str | Path] = [sys.executable, _PROBES / "publish_pages.py", file, str(warm_up), str(counted)]
            run_command(command, log, environment=without_settings(), folder=folder)
        times: dict[str, list[float]] = json.loads(tail(log, 1))
        return times

    @staticmethod
    def never(_folder: Path) -> Outcome:
        """Of a contestant that cannot run here."""
        raise AssertionError("a missing contestant is not run")

    def _pages_counted(self) -> tuple[int, int]:
        """A small table, as in a trial, has fewer pages."""
        pages = self.options.size.rows // THOUSAND
        warm_up = min(PAGES_WARM_UP, pages // 4)
        return warm_up, min(PAGES_COUNTED, pages - warm_up)

    def _psycopg(self, point: str, folder: Path) -> Outcome:
        with self.topics.fresh() as topic:
            peer = _PEERS / "publish_psycopg.py"
            command: list[str | Path] = [sys.executable, peer, self.services.dsn, self.services.brokers, topic]
            usage = run_command([*command, *point.split()], folder / "psycopg.log")
            return Outcome(usage, self.options.size.rows, fingerprint=self._on(topic))

    def _configuration(self, folder: Path, topic: str, cdc: Mapping[str, int]) -> Path:
        # Its topic of positions is named after the pipeline, which is named after the topic.
        changes: dict[str, dict[str, object]] = {"cdc": {"pipeline_id": topic, **cdc}}
        return product.configuration(folder, self.services.postgres, self.services.brokers, topic, changes)

    def _on(self, topic: str) -> dict[str, str]:
        return _fingerprint("topic", self.services.brokers, topic)


def _fingerprint(*arguments: str) -> dict[str, str]:
    command = [sys.executable, str(_PROBES / "publish_fingerprint.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"the rows of the {arguments[0]} could not be read:\n{done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _goals(samples: list[Sample], commit: Spread) -> list[Goal]:
    def over(first: str, figure: Callable[[Outcome], float]) -> Spread | None:
        return ratios(samples, first, FOODSTREAM, figure)

    rate = ratios(samples, FOODSTREAM, COPY, lambda outcome: outcome.rows / outcome.usage.wall_sec)
    memory = spread([s.outcome.usage.peak_bytes / 1e6 for s in samples if s.contestant == FOODSTREAM])
    return [
        _goal("producer over psycopg → confluent-kafka, wall", 2, 3, over(PSYCOPG, wall)),
        _goal("producer over Debezium's tuned flat snapshot, wall", 5, 7, over(DEBEZIUM, _kind_wall)),
        _goal("producer over COPY in binary, rows/s", 0.3, 0.4, rate),
        Goal("producer, peak memory", 100, 50, False, memory, unit="MB"),
        Goal("one Kafka commit of 1,000 rows, p50", 8, 3, False, commit, unit="ms"),
    ]


def _goal(name: str, must: float, aim: float, found: Spread | None) -> Goal:
    return Goal(name, must, aim, True, found, reason="" if found else "the peer is missing")


def _kind_wall(outcome: Outcome) -> float:
    """Without what a server takes to start, where that is known."""
    return min(outcome.usage.wall_sec, outcome.extra.get(_FROM_CONNECTOR, outcome.usage.wall_sec))
