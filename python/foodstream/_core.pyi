"""The Rust core, as Python sees it. Names meant for use are in ``foodstream``."""

import datetime
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, final

from typing_extensions import disjoint_base

__all__ = [
    "Batch",
    "BrokerError",
    "Config",
    "ConfigError",
    "Consumer",
    "DataLossError",
    "DataValidator",
    "DoctorReport",
    "EventProducer",
    "EventProgress",
    "FencedError",
    "FoodstreamError",
    "LakeError",
    "LakeProgress",
    "Producer",
    "Progress",
    "QualityReport",
    "Report",
    "Rows",
    "SchemaError",
    "SourceError",
    "StreamingJob",
    "__version__",
    "doctor",
    "insert_test_orders",
    "main",
    "peek",
    "quarantine",
    "read",
    "totals",
    "verify_pipeline",
]

# A configuration file, its content as nested dicts, or a Config. A dict stands above the environment, a file below.
_ConfigLike: TypeAlias = str | PathLike[str] | Mapping[str, Any] | Config

__version__: str

def main(argv: Sequence[str]) -> int | tuple[Literal["local", "demo", "purchases demo"], dict[str, Any]]:
    """Run one command; ``argv[0]`` is the program's name.

    Returns the exit code, or the name and the options of a command that Python runs.
    """

class FoodstreamError(Exception):
    """Base of all errors of this package."""

    retriable: bool
    """True if the same call may succeed later without a change of configuration or data."""

class ConfigError(FoodstreamError, ValueError):
    """The configuration is wrong; path, line, column and key say where, if in a file."""

    path: str | None
    line: int | None
    column: int | None
    key: str | None
    """Dotted, such as ``kafka.brokers``."""

class SourceError(FoodstreamError):
    """PostgreSQL could not be reached, or refused."""

class BrokerError(FoodstreamError):
    """Kafka could not be reached, or refused."""

class SchemaError(FoodstreamError):
    """The table, the messages or the lake disagree about columns."""

class LakeError(FoodstreamError):
    """The lake, its log, or the file system under it is not as it must be."""

class DataLossError(FoodstreamError):
    """Rows or offsets never read are gone; the message and attributes say which.

    What an error does not know is None.
    """

    topic: str | None
    offsets: dict[int, tuple[int, int | None]] | None
    """Partition to (from, to), ``to`` not included, as in ``Batch.offsets``; None in its place where it is unknown."""
    cursors: tuple[str | None, str | None] | None
    """Rows of the table behind the first position and up to the second, as ``Progress.cursor`` writes them.

    A moment alone, UTC, stands where no key is known, and None where there is no limit.
    """
    commits: tuple[int, int] | None
    """The first and the last number of the commit log's records that are gone."""

class FencedError(FoodstreamError):
    """Another process took over this pipeline or these partitions."""

@final
class Config:
    """A configuration that was read once and can be used many times.

    ``preset`` says what lies below it, in place of its own key ``preset``: ``orders``, which is the default, or
    ``purchases``, which ``EventProducer``, ``StreamingJob`` and ``DataValidator`` need. ``overrides`` is laid over
    everything else: ``{"cdc": {"batch_limit": 500}}``. Raises ``ConfigError``.
    """

    def __new__(
        cls,
        config: _ConfigLike,
        *,
        preset: Literal["orders", "purchases"] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self: ...

@final
class Progress:
    """What a run of the producer has done."""

    @property
    def rows(self) -> int: ...
    @property
    def transactions(self) -> int: ...
    @property
    def polls(self) -> int: ...
    @property
    def cursor(self) -> str | None:
        """The last published position, ``timestamp|key`` as the state file holds it."""
    @property
    def seconds(self) -> float: ...
    def _repr_html_(self) -> str: ...

@final
class LakeProgress:
    """What a run of the consumer has done."""

    @property
    def rows(self) -> int:
        """Messages: accepted and rejected."""
    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def batches(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def commit(self) -> int | None:
        """Number of the log's last commit, whoever made it."""
    @property
    def offsets(self) -> dict[int, int]:
        """Partition to the next offset to read."""
    @property
    def seconds(self) -> float: ...
    def _repr_html_(self) -> str: ...

@final
class Producer:
    """Polls a table and publishes its rows to a topic, each exactly once.

    Raises ``ConfigError`` at once if the configuration is wrong; nothing is connected before the first call.
    ``start_from`` is a position as the state file holds it, ``2025-11-18 12:30:45.123456|42``; ``adopt`` accepts one
    that the topic, the state file or the database contradicts. ``once_wait`` is how many seconds a run with ``once``
    waits for open transactions. One call at a time; ``stop``, ``status`` and the progress may be used from any thread.
    """

    def __new__(
        cls,
        config: _ConfigLike,
        *,
        overrides: Mapping[str, Any] | None = None,
        start_from: str | None = None,
        adopt: bool = False,
        once_wait: float = 90.0,
    ) -> Self: ...
    def run(
        self,
        *,
        once: bool = False,
        timeout: float | None = None,
        max_rows: int | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> Progress:
        """Publish until stop() or Ctrl-C; with once, until what is there now is published.

        ``timeout`` is in seconds; ``max_rows`` are published at most. ``on_progress`` is called in this thread with
        each transaction's ``last_progress``, once it is committed; its exception ends the run and is raised. What was
        read is committed before it returns. After a Ctrl-C the object can be used again. Raises ``SourceError``,
        ``BrokerError``, ``FencedError``, ``DataLossError``.
        """
    async def arun(
        self,
        *,
        once: bool = False,
        timeout: float | None = None,
        max_rows: int | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> Progress:
        """The same, to be awaited; cancelling it stops the run.

        The run has a thread of its own. ``on_progress`` is called in the event loop and may be ``async``.
        """
    def poll(self) -> int:
        """Read and publish one page; return the number of rows published."""
    def stop(self) -> None:
        """End the run in another thread after what it is doing; nothing if there is none."""
    def close(self) -> None:
        """Let go of all connections. May be called again; anything else afterwards raises."""
    @property
    def status(self) -> dict[str, Any]:
        """What it is doing: ``message`` is idle, running, stopping or closed; ``url`` is there with a status page."""
    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The last transaction, in the words of Spark's StreamingQueryProgress."""
    @property
    def recent_progress(self) -> list[dict[str, Any]]:
        """The last hundred transactions."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Rows:
    """Rows in Arrow form; polars, pyarrow, duckdb and pandas take it as it is, any number of times.

    So do arro3 and datafusion. The columns are as in the lake: decimals with their scale, times in microseconds of UTC.
    Rows of ``read`` and ``quarantine`` are read from their files each time, the others are held in memory.
    """

    @property
    def columns(self) -> list[str]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A new stream over all rows, in batches.

        A requested schema is honoured where the columns can be cast to it; a value that does not fit is an error.
        """
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """All rows as one array."""
    def __len__(self) -> int: ...

@final
class Batch:
    """A micro-batch: decoded and validated, not yet in the lake.

    It is committed by ``commit()`` or by asking the consumer for the next one; leaving the loop, an exception and
    ``close()`` leave it uncommitted, and its messages come again. Its length counts messages, accepted and rejected.
    """

    @property
    def id(self) -> int:
        """Number of its commit, if no other worker commits before."""
    @property
    def accepted(self) -> Rows:
        """Valid rows, in the lake's columns."""
    @property
    def rejected(self) -> Rows:
        """Rows that failed validation, with their reasons, their bytes and their position."""
    @property
    def plan_id(self) -> str | None:
        """The id under which ``for_each_batch`` hands these offsets out, each time; None in a loop."""
    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """Partition to (from, to), ``to`` not included."""
    def commit(self) -> bool:
        """Write files, quarantine and offsets to the lake in one commit.

        False if another worker of the group took the partitions meanwhile: the messages come again, to that one.
        Raises ``LakeError``, and ``FoodstreamError`` for a batch that is no longer the current one and inside
        ``for_each_batch``, which commits by itself.
        """
    def __len__(self) -> int: ...
    def _repr_html_(self) -> str:
        """Counts, offsets and the first accepted rows."""

@disjoint_base
class Consumer:
    """Consumes a topic into the lake, or hands its micro-batches to Python.

    With ``available_now`` runs and loops end at the offsets the topic ended at when they began; ``once_wait`` is how
    many seconds they wait there for open transactions. One call at a time; ``stop``, ``status`` and the progress may
    be used from any thread::

        with foodstream.Consumer(config, available_now=True) as consumer:
            for batch in consumer:
                frame = polars.DataFrame(batch.accepted)
    """

    def __new__(
        cls,
        config: _ConfigLike,
        *,
        overrides: Mapping[str, Any] | None = None,
        available_now: bool = False,
        once_wait: float = 90.0,
    ) -> Self: ...
    def run(
        self,
        *,
        available_now: bool = False,
        once: bool = False,
        max_batches: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> LakeProgress:
        """Consume into the lake until stop(), Ctrl-C or a limit.

        ``once`` is another word for ``available_now``; ``timeout`` is in seconds; ``max_batches`` are committed at
        most. ``on_progress`` is called in this thread with each commit's ``last_progress``; its exception ends the run
        and is raised, the commit stays. Raises ``BrokerError``, ``LakeError``, ``SchemaError``, ``DataLossError``.
        """
    async def arun(
        self,
        *,
        available_now: bool = False,
        once: bool = False,
        max_batches: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> LakeProgress:
        """The same, to be awaited; cancelling it stops the run.

        The run has a thread of its own. ``on_progress`` is called in the event loop and may be ``async``.
        """
    def for_each_batch(
        self,
        fn: Callable[[Batch, str], object],
        *,
        available_now: bool = False,
        once: bool = False,
        max_batches: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> LakeProgress:
        """Call fn(batch, batch_id) for each micro-batch, then commit it to the lake.

        ``batch_id`` is a uuid. It is written down together with the batch's offsets before the function is called, and
        until the batch is in the lake its offsets are handed out with this id and these rows only: after an exception,
        a kill, or in another worker that took the partitions over. (The order of rows among partitions may differ;
        ``batch.id``, the commit's number, may too.) So a function that keeps the ids it has applied, in the same
        transaction as what it writes, acts exactly once: see ``BatchLedger``. Without that it acts at least once.

        The function runs in this thread. Its exception, also ``KeyboardInterrupt``, is raised as it is and leaves the
        batch uncommitted; the next call begins with that batch. ``stop()`` lets the running function end and commits
        its batch; what was gathered for the next one is read again. When ``timeout`` (in seconds) is over, the open
        batch is handed out first. A function that takes longer than ``max.poll.interval.ms`` loses its partitions to
        another worker, who begins with the same batch. ``on_progress`` is called in this thread as in ``run``, after
        each commit.

        Two things end the promise for a batch that was begun: committing its offsets by ``run`` or a loop, which
        warns, and changing the columns or rules in between. Raises as ``run`` does.
        """
    def stop(self) -> None:
        """End the run or the loop in another thread after its commit; nothing if there is none.

        A loop ends at its next step, which commits the batch it has in hand.
        """
    def close(self) -> None:
        """Leave the group and let go of all connections. May be called again; anything else afterwards raises."""
    @property
    def status(self) -> dict[str, Any]:
        """What it is doing: ``message`` is idle, running, stopping or closed; ``url`` is there with a status page."""
    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The last commit, in the words of Spark's StreamingQueryProgress."""
    @property
    def recent_progress(self) -> list[dict[str, Any]]:
        """The last hundred commits."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> Batch: ...
    def __aiter__(self) -> AsyncIterator[Batch]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Report:
    """What verify_pipeline found; true unless something was lost, repeated or altered."""

    @property
    def checks(self) -> list[dict[str, Any]]:
        """A dict a section: status, name, summary, details."""
    @property
    def missing(self) -> list[str]:
        """Up to twenty keys that should be in the lake or the quarantine and are in neither."""
    @property
    def facts(self) -> dict[str, Any]:
        """Every number of the comparison."""
    def to_dict(self) -> dict[str, Any]:
        """The report as ``foodstream verify --report json`` prints it."""
    def __bool__(self) -> bool: ...
    def _repr_html_(self) -> str: ...

def verify_pipeline(config: _ConfigLike, *, overrides: Mapping[str, Any] | None = None) -> Report:
    """Compare table, topic, lake and state by key and content; changes nothing.

    What it finds wrong is in the report. Where the configuration has no ``postgres``, the topic's messages are compared
    with lake and quarantine by count. Raises ``SourceError`` and ``BrokerError`` where a service is away.
    """

@final
class DoctorReport:
    """What doctor found; true unless there is a fault or a service is away."""

    @property
    def checks(self) -> list[dict[str, Any]]:
        """A dict a check: section, check, verdict, fact, remedies.

        The verdict is ok, not_applicable, could_not_tell, warning or fault; remedies are statements, settings and
        commands as they can be pasted. docs/OPERATIONS.md describes each check.
        """
    @property
    def exit_code(self) -> int:
        """The exit code of ``foodstream doctor``: 0, 3 for faults, 75 where only a service is away."""
    def to_dict(self) -> dict[str, Any]:
        """The report as ``foodstream doctor --report json`` prints it."""
    def __bool__(self) -> bool: ...
    def _repr_html_(self) -> str: ...

def doctor(
    config: _ConfigLike,
    *,
    section: Literal["postgres", "kafka", "lake", "program"] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> DoctorReport:
    """Examine services, topic, disk and settings; changes nothing.

    What it finds wrong is in the report, each with a remedy, and so is a service that is away after
    ``retry.start_timeout_sec``. ``section`` leaves the others out. May run beside a living pipeline.
    """

def read(
    source: _ConfigLike,
    *,
    columns: Iterable[str] | None = None,
    date: str | datetime.date | None = None,
    dates: tuple[str | datetime.date | None, str | datetime.date | None] | None = None,
    snapshot: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Rows:
    """Return the committed rows of a lake, named by its configuration or its folder.

    ``columns`` are read and no others, in this order; ``date`` (date32) is the partition, and the last column where
    all are read. ``date`` is one partition, ``dates`` the first and the last of several, both inside, None for no
    limit: files of other days are not opened. ``snapshot`` is the number of a commit, ``LakeProgress.commit`` or
    ``batchId``: the lake as it was then, for as long as its files are there. With a configuration the commit log says
    what is committed, at the moment of the call; a folder is listed, and takes neither ``snapshot`` nor ``overrides``.

    Raises ``ConfigError`` for a day or a commit that is none, ``SchemaError`` for a column that is not there,
    ``LakeError`` for a damaged log or file.
    """

def quarantine(
    config: _ConfigLike,
    *,
    columns: Iterable[str] | None = None,
    date: str | datetime.date | None = None,
    dates: tuple[str | datetime.date | None, str | datetime.date | None] | None = None,
    snapshot: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Rows:
    """Return the rejected messages of a lake, with their bytes, position and reasons.

    Columns: ``raw_key``, ``raw_value`` (binary), ``topic``, ``partition``, ``offset``, ``timestamp`` (milliseconds,
    UTC), ``reasons`` such as ``not_positive:amount,empty:item``, then the lake's columns, null where they did not
    parse, and ``date``, the day they were consumed. Arguments and errors are as those of ``read``.
    """

def peek(
    config: _ConfigLike,
    what: Literal["topic", "table"],
    *,
    n: int = 20,
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
    timestamp: datetime.datetime | float | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Rows:
    """Return the newest messages of the topic, or the newest rows of the table, without moving anything.

    ``"topic"``: up to ``n`` committed messages, the newest last, in the columns of ``quarantine`` without ``date``,
    ``timestamp`` in milliseconds as there; ``reasons`` is null where the consumer would accept the message. ``topic``
    names another one than the configured. With ``offset``, or ``timestamp``, a datetime with a zone or seconds since
    1970, they are the first ``n`` from there on. No group is joined and no offset is committed. ``"table"``: up to
    ``n`` rows, the newest first, in the columns that their messages have.

    Raises ``BrokerError``, ``SourceError`` and ``ConfigError``.
    """

def totals(
    config: _ConfigLike,
    *,
    by: list[str] | None = None,
    running: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Rows:
    """Return the totals of a lake by period and group, from its commit log alone; empty before its first commit.

    Columns: ``date`` (date32), or ``period`` (timestamp, UTC) where totals are kept by the hour; the group columns
    (utf8); ``rows`` (int64); ``sum_x``, ``min_x``, ``max_x`` and ``avg_x`` of each configured column (decimal(38, s),
    or decimal(76, s) where a value needs it). ``by`` keeps only these group columns apart and folds the others, all
    of them with an empty list; None keeps all. ``running`` adds ``running_sum_x``: of each group over its periods.

    Raises ConfigError for a column that is not grouped by, LakeError for a damaged log.
    """

def insert_test_orders(
    config: _ConfigLike, *, count: int = 5, overrides: Mapping[str, Any] | None = None
) -> list[int | str]:
    """Insert generated orders into the table and return their keys.

    All ``count`` of them are committed together. The table must have the order columns. Raises ``SourceError`` and
    ``SchemaError``.
    """

@final
class StreamingJob(Consumer):
    """Streams purchase events into the lake and prints their daily and running totals.

    A ``Consumer`` over the purchase preset: what the configuration leaves out is as in ``configs/purchases.yml``. It
    can be looped over and stopped as one, and ``for_each_batch`` works as there.
    """

    def __new__(
        cls,
        config: _ConfigLike,
        *,
        overrides: Mapping[str, Any] | None = None,
        available_now: bool = False,
        once_wait: float = 90.0,
    ) -> Self: ...
    def run(
        self,
        *,
        available_now: bool = False,
        once: bool = False,
        max_batches: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
        output: Literal["table", "json", "none"] = "table",
    ) -> LakeProgress:
        """Consume into the lake and print each batch, until stop(), Ctrl-C or a limit.

        ``output`` is ``table``, the blocks that ``foodstream purchases run`` prints, ``json``, an object a line with
        amounts as text, or ``none``. Printed is what is committed, with Python's ``print`` in this thread. ``timeout``
        is in seconds. ``on_progress`` and errors are as in ``Consumer.run``.
        """
    async def arun(
        self,
        *,
        available_now: bool = False,
        once: bool = False,
        max_batches: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
        output: Literal["table", "json", "none"] = "table",
    ) -> LakeProgress:
        """The same, to be awaited; cancelling it stops the run.

        The run has a thread of its own, which prints. ``on_progress`` is called in the event loop and may be
        ``async``.
        """
    def totals(self, *, by: list[str] | None = None, running: bool = False) -> Rows:
        """Return the totals so far by day and group.

        As ``foodstream.totals`` does.
        """

@final
class EventProducer:
    """Makes realistic purchase events and publishes them.

    What the configuration leaves out is as in ``configs/purchases.yml``; ``producer.seed``, ``invalid_share`` and
    ``duplicate_share`` say what is made. Raises ``ConfigError`` at once if the configuration is wrong; nothing is
    connected before the first event is sent. One call at a time; ``stop``, ``status`` and the progress may be used from
    any thread::

        with EventProducer("configs/purchases.yml") as producer:
            event = producer.generate()
            producer.publish(event)
            producer.run(max_events=1_000, rate=100)
    """

    def __new__(cls, config: _ConfigLike, *, overrides: Mapping[str, Any] | None = None) -> Self: ...
    def generate(self) -> dict[str, Any]:
        """Make the next event and return it; nothing is sent.

        No later event repeats it. Amounts are ``Decimal``, exact to the cent; ``timestamp`` is ISO 8601 text in UTC.
        """
    def publish(self, event: Mapping[str, Any] | str | bytes | bytearray, *, key: str | bytes | None = None) -> None:
        """Send one event; flush() waits for its delivery.

        The key is the event's ``customer_id`` if none is given, and empty without one. A dict may hold ``Decimal`` and
        ``datetime`` values. Raises ``BrokerError``, ``TypeError`` and ``ValueError``.
        """
    def flush(self) -> None:
        """Wait until everything published is in the topic.

        After ``stop()`` it waits a second at most. What was not delivered is given up and raises ``BrokerError``.
        """
    def run(
        self,
        *,
        max_events: int | None = None,
        rate: float | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> EventProgress:
        """Generate and publish until stop(), Ctrl-C or a limit.

        ``rate`` is in events a second, ``math.inf`` for no limit, ``timeout`` in seconds; what is None is as
        configured. ``on_progress`` is called in this thread with ``last_progress``, once a second and at the end; its
        exception ends the run and is raised. Returns when everything sent is delivered or counted as a delivery error.
        Raises ``BrokerError``, with the number of events that may be lost, where the broker is away.
        """
    async def arun(
        self,
        *,
        max_events: int | None = None,
        rate: float | None = None,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> EventProgress:
        """The same, to be awaited; cancelling it stops the run.

        The run has a thread of its own. ``on_progress`` is called in the event loop and may be ``async``.
        """
    def stop(self) -> None:
        """End the run in another thread; what it sent is delivered first. Nothing if there is none."""
    def close(self) -> None:
        """Deliver what was published and let go of the connections. May be called again.

        Anything else afterwards raises. Raises ``BrokerError`` as ``flush`` does.
        """
    @property
    def status(self) -> dict[str, Any]:
        """What it is doing: ``message`` is idle, running, stopping or closed."""
    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The last report of a run, in the words of Spark's StreamingQueryProgress.

        ``numInputRows`` are the events sent since the report before.
        """
    @property
    def recent_progress(self) -> list[dict[str, Any]]:
        """The last hundred reports."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class EventProgress:
    """What a run of the event producer has done."""

    @property
    def events(self) -> int: ...
    @property
    def valid(self) -> int: ...
    @property
    def invalid(self) -> dict[str, int]:
        """By the way in which they are broken."""
    @property
    def duplicates(self) -> int: ...
    @property
    def delivery_errors(self) -> int:
        """Events that did not reach the topic."""
    @property
    def seconds(self) -> float: ...
    def _repr_html_(self) -> str: ...

@final
class DataValidator:
    """Judges messages by the configured rules, without Kafka and without a lake.

    Only ``schema``, ``validation`` and ``cdc.timestamp_column`` are looked at; the other sections may be missing. What
    the configuration leaves out is as in ``configs/purchases.yml``; one that writes its own ``schema`` gets no columns
    and rules from there. Raises ``ConfigError``, also for a rule that its column cannot carry.
    """

    def __new__(cls, config: _ConfigLike, *, overrides: Mapping[str, Any] | None = None) -> Self: ...
    def validate(self, messages: Iterable[Mapping[str, Any] | str | bytes | bytearray | None]) -> QualityReport:
        """Judge dicts, JSON texts or bytes, as the consumer would judge them as messages.

        Each call stands for itself: a repeated id is one that came before in the same call. A dict may hold
        ``Decimal`` and ``datetime`` values; ``None`` is Kafka's null message. Raises ``TypeError`` and ``ValueError``
        for what is no message at all.
        """

@final
class QualityReport:
    """What became of the messages; true if none was rejected."""

    @property
    def input_count(self) -> int:
        """How many messages were judged."""
    @property
    def accepted_count(self) -> int: ...
    @property
    def rejected_count(self) -> int: ...
    @property
    def by_reason(self) -> dict[str, int]:
        """Messages by reason code, such as ``too_small``; one with several reasons counts under each."""
    @property
    def by_reason_and_column(self) -> dict[str, int]:
        """Messages by reason and column, such as ``too_small:quantity``."""
    @property
    def accepted(self) -> Rows:
        """Valid rows, in the lake's columns."""
    @property
    def rejected(self) -> Rows:
        """Rejected messages with their bytes and reasons; ``offset`` is the place in the list."""
    def to_dict(self) -> dict[str, Any]:
        """The counts and reasons as a dict."""
    def __bool__(self) -> bool: ...
    def _repr_html_(self) -> str: ...
