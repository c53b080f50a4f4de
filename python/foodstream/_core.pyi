"""The Rust core, as Python sees it. Names meant for use are in ``foodstream``."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeAlias, final

# A configuration file, or its content as nested dicts.
Config: TypeAlias = str | PathLike[str] | Mapping[str, Any]

__version__: str

def main(argv: Sequence[str]) -> int:
    """Run one command; ``argv[0]`` is the program's name. Returns the exit code."""

class FoodstreamError(Exception):
    """Base of all errors of this package."""

    retriable: bool
    """True if the same call may succeed later without a change of configuration or data."""

class ConfigError(FoodstreamError, ValueError):
    """The configuration is wrong; the fields say where, as far as it came from a file."""

    path: str | None
    line: int | None
    column: int | None

class SourceError(FoodstreamError):
    """PostgreSQL is unreachable or refused."""

class BrokerError(FoodstreamError):
    """Kafka is unreachable or refused."""

class SchemaError(FoodstreamError):
    """The table, the messages and the lake do not agree on the columns."""

class LakeError(FoodstreamError):
    """The lake, its commit log or its staging folder is not as it must be."""

class DataLossError(FoodstreamError):
    """Rows or offsets that were never read are gone; the message names the interval."""

class FencedError(FoodstreamError):
    """Another producer or worker has taken over; this one must not go on."""

@final
class Progress:
    """What a run of a producer or a consumer has done."""

    rows: int
    transactions: int
    cursor: str | None
    """The last published position, ``timestamp|key`` as the state file holds it."""
    seconds: float

@final
class Producer:
    """Polls a table and publishes its rows to a topic, each once.

    Raises ``ConfigError`` at once if the configuration is wrong; nothing is connected before the first call.
    """

    def __init__(self, config: Config, *, overrides: Mapping[str, Any] | None = None) -> None: ...
    def run(self, *, once: bool = False, timeout: float | None = None, max_rows: int | None = None) -> Progress:
        """Publish until ``stop()`` or Ctrl-C; with ``once`` until what is there now is published.

        ``timeout`` is in seconds. Raises ``SourceError``, ``BrokerError``, ``FencedError``, ``DataLossError``.
        """
    def poll(self) -> int:
        """Read and publish one page; return the number of rows published."""
    def stop(self) -> None:
        """Ask a ``run`` in another thread to end after what it is doing."""
    def close(self) -> None:
        """Let go of all connections. May be called again; anything else afterwards raises."""
    @property
    def status(self) -> dict[str, Any]:
        """What the producer is doing now."""
    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The last poll that published, in the words of Spark's StreamingQueryProgress."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def _repr_html_(self) -> str: ...

@final
class Rows:
    """Rows in Arrow form; polars, pyarrow, duckdb and pandas take it as it is."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __len__(self) -> int: ...

@final
class Batch:
    """A micro-batch: decoded and validated, not yet in the lake.

    It is committed by ``commit()`` or by asking the consumer for the next one; leaving the loop, an exception and
    ``close()`` leave it uncommitted, and it comes again.
    """

    @property
    def id(self) -> int: ...
    @property
    def accepted(self) -> Rows: ...
    @property
    def rejected(self) -> Rows:
        """Rows that failed validation, with their reasons, their bytes and their position."""
    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """Partition to (from, to), ``to`` not included."""
    def commit(self) -> None:
        """Write files, quarantine and offsets to the lake in one commit. Raises ``LakeError``, ``FencedError``."""
    def __len__(self) -> int: ...

@final
class Consumer:
    """Consumes a topic into the lake, or hands its micro-batches to Python.

    ``available_now``: end at the offsets the topic ended at when the run began.
    """

    def __init__(
        self, config: Config, *, overrides: Mapping[str, Any] | None = None, available_now: bool = False
    ) -> None: ...
    def run(
        self, *, available_now: bool = False, max_batches: int | None = None, timeout: float | None = None
    ) -> Progress:
        """Consume into the lake until ``stop()``, Ctrl-C or a limit. ``timeout`` is in seconds.

        Raises ``BrokerError``, ``LakeError``, ``DataLossError``, ``FencedError``.
        """
    def for_each_batch(self, function: Callable[[Batch, int], object]) -> Progress:
        """Call ``function(batch, batch_id)`` before each commit; an exception leaves that batch uncommitted."""
    def stop(self) -> None:
        """Ask a ``run`` in another thread to end after its commit."""
    def close(self) -> None:
        """Leave the group and let go of all connections. May be called again; anything else afterwards raises."""
    @property
    def status(self) -> dict[str, Any]:
        """What the consumer is doing now."""
    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The last committed micro-batch, in the words of Spark's StreamingQueryProgress."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> Batch: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def _repr_html_(self) -> str: ...

@final
class Report:
    """What ``verify_pipeline`` found; true if table, topic and lake agree."""

    @property
    def checks(self) -> list[dict[str, Any]]: ...
    @property
    def missing(self) -> list[Any]:
        """Keys that were published and consumed and are neither in the lake nor in the quarantine."""
    def __bool__(self) -> bool: ...
    def _repr_html_(self) -> str: ...

def verify_pipeline(config: Config, *, overrides: Mapping[str, Any] | None = None) -> Report:
    """Compare table, topic, lake and state by key and content; changes nothing."""

def read(source: Config, *, date: str | None = None) -> Rows:
    """The committed rows of a lake, named by its configuration or its path; ``date`` is one partition."""

def insert_test_orders(config: Config, *, count: int = 5) -> list[int]:
    """Insert generated orders into the table and return their ids."""
