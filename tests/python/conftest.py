"""Fixtures: the real services once a session, and for each test a database, topics and folders that nobody else has.

``services``   a PostgreSQL and a Kafka, started here, or those of FOODSTREAM_TEST_POSTGRES and FOODSTREAM_TEST_KAFKA
``database``   a fresh database with the orders table: ``database.connect()``, ``database.sql(...)``
``pipeline``   a configuration over all of them, as dict and as file, and the commands over it: ``pipeline.run(...)``
``purchases``  the same for the purchase pipeline, with its topic

Nothing here needs the built extension but what ``pipeline.run`` and ``pipeline.start`` run.
"""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, AnyStr

import psycopg
import psycopg.conninfo
import psycopg.sql
import pytest
import told_to_end
import topics
import with_services
from foodstream._stack import process

ROOT = Path(__file__).resolve().parents[2]
ORDERS_SQL = ROOT / "db" / "orders.sql"
USER = "student"
PASSWORD = "student123"
COMMAND_TIMEOUT_SEC = 120.0
# How long a child may take to end once the test is done with it, and once it has been told to.
END_TIMEOUT_SEC = 30.0
# Of each stream's log, where a test failed.
LOG_LINES_SHOWN = 60
# The longest first: with several workers, one that begins late with a long test keeps all others waiting.
LONGEST_FIRST = (
    "test_torture.py",
    "test_stops.py",
    "test_late_commits.py",
    "test_local.py",
    "test_groups.py",
    "test_start_orders.py",
    # Half a minute each, of which the last would be waited for alone.
    "test_batches_to_postgres.py",
    "test_totals.py",
    "test_purchases.py",
    "test_repeats.py",
    "test_loud_stops.py",
    "test_failing_syncs.py",
)
# Their tests share services or a pipeline of their own, and so stay on one worker; all others go to whoever is free.
TOGETHER = ("test_stops.py", "test_start_orders.py", "test_local.py", "test_status_page.py")


def pytest_configure(config: pytest.Config) -> None:
    """Told to end, a run ends as after Ctrl-C: fixtures take away what they started, in each worker."""
    told_to_end.raise_when_told(KeyboardInterrupt())
    if config.pluginmanager.hasplugin("xdist"):
        from xdist.workermanage import NodeManager

        # Seconds until a worker that was told to end is killed; its ten are less than services take.
        NodeManager.EXIT_TIMEOUT = told_to_end.WORKER_PATIENCE_SEC


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


# Optional: without pytest-xdist, or without -n, one process runs all tests in order.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.endswith(TOGETHER) else nodeid

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is shown with what the test's streams said, since their folder is gone soon."""
    report = yield
    if report.failed and isinstance(made := getattr(item, "funcargs", {}).get("pipeline"), Pipeline):
        for log in sorted(made.folder.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            report.sections.append((f"last lines of {log.name}", "\n".join(lines[-LOG_LINES_SHOWN:])))
    return report


@dataclass(frozen=True)
class Services:
    """Where the real services of this session are."""

    administrator: str
    brokers: str

    @property
    def address(self) -> dict[str, str]:
        return {key: str(value) for key, value in psycopg.conninfo.conninfo_to_dict(self.administrator).items()}


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with with_services.services() as variables:
        started = Services(variables[with_services.POSTGRES], variables[with_services.KAFKA])
        with psycopg.connect(started.administrator) as connection:
            # Several workers of one run share the server, and the role is the whole server's.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('foodstream tests: roles'))")
            known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).fetchone()
            if known is None:
                connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"GRANT pg_read_all_stats TO {USER}")
        yield started


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    name: str
    services: Services

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as the user the pipeline runs as; commits by itself unless told otherwise."""
        address = self.services.address
        return psycopg.connect(
            **{
                "host": address["host"],
                "port": address["port"],
                "user": USER,
                "password": PASSWORD,
                "dbname": self.name,
                "autocommit": True,
                **options,
            }
        )

    def administer(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as the superuser."""
        return psycopg.connect(self.services.administrator, **{"dbname": self.name, "autocommit": True, **options})

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str = "orders") -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])


@pytest.fixture
def database(services: Services) -> Iterator[Database]:
    with fresh_database(services) as created:
        yield created


@contextlib.contextmanager
def fresh_database(services: Services) -> Iterator[Database]:
    """For fixtures that live longer than one test."""
    created = Database(f"test_{uuid.uuid4().hex[:12]}", services)
    with psycopg.connect(services.administrator, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {created.name} OWNER {USER}".encode())
    with created.administer() as connection:
        connection.execute(ORDERS_SQL.read_bytes())
    try:
        yield created
    finally:
        with created.administer() as connection:
            # They outlive their session, and a database that has some cannot be dropped.
            prepared = connection.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            ).fetchall()
            for (gid,) in prepared:
                connection.execute(psycopg.sql.SQL("ROLLBACK PREPARED {}").format(psycopg.sql.Literal(gid)))
        with psycopg.connect(services.administrator, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {created.name} WITH (FORCE)".encode())


@dataclass
class Pipeline:
    """A configuration of its own over the real services, and the commands over it."""

    folder: Path
    database: Database
    config: dict[str, Any]
    _streams: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return str(self.config["kafka"]["topic"])

    @property
    def lake(self) -> Path:
        return self.folder / "output" / "orders"

    @property
    def quarantine(self) -> Path:
        return self.folder / "output" / "orders_quarantine"

    @property
    def state_file(self) -> Path:
        return self.folder / "lastprocess" / "orders" / "last_processed_timestamp.txt"

    @property
    def config_file(self) -> Path:
        """The configuration as it stands now, written out; JSON is YAML."""
        path = self.folder / "orders_stream.yml"
        text = json.dumps(self.config, indent=2)
        # Not written again for nothing: a command that starts just now may be reading it.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        return path

    def run(
        self, command: str, *arguments: str, expect: int | None = 0, input: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fails unless it exits with ``expect`` (None: any code)."""
        done = subprocess.run(
            self._words(command, arguments),
            cwd=self.folder,
            env={**_environment(), **environment},
            input=input,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SEC,
            check=False,
        )
        if expect is not None and done.returncode != expect:
            pytest.fail(f"{command} ended with {done.returncode}, not {expect}:\n{done.stderr}\n{done.stdout}")
        return done

    def report(self, command: str, *arguments: str, expect: int | None = 0, **environment: str) -> dict[str, Any]:
        """Run a command with ``--report json`` and return the report."""
        done = self.run(command, *arguments, "--report", "json", expect=expect, **environment)
        report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return report

    def start(self, command: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command that runs until it is stopped; its output is in ``<command>-<n>.log``. Killed at the end."""
        log = self.folder / f"{command}-{len(self._streams) + 1}.log"
        with log.open("w", encoding="utf-8") as output:
            stream = subprocess.Popen(
                self._words(command, arguments),
                cwd=self.folder,
                env={**_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
            )
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        for stream in self._streams:
            if stream.poll() is None:
                stream.kill()
            stream.wait()

    def _words(self, command: str, arguments: tuple[str, ...]) -> list[str]:
        # A command of two words, such as "lake rebuild-log", takes its options behind the second.
        return [sys.executable, "-m", "foodstream", *command.split(), "--config", str(self.config_file), *arguments]


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    with fresh_pipeline(database, tmp_path) as made:
        yield made


@contextlib.contextmanager
def fresh_pipeline(database: Database, folder: Path) -> Iterator[Pipeline]:
    """For fixtures that live longer than one test."""
    address = database.services.address
    config = {
        "postgres": {
            "host": address["host"],
            "port": int(address["port"]),
            "db": database.name,
            "user": USER,
            "password": PASSWORD,
            "table": "orders",
        },
        "kafka": {
            "brokers": database.services.brokers,
            # The database's name is unique, and so are with it the topic, the group and the pipeline id.
            "topic": f"{database.name}_orders",
            "num_partitions": 3,
            "replication_factor": 1,
            "consumer_group": f"{database.name}_group",
        },
        "streaming": {
            "checkpoint_location": str(folder / "checkpoints" / "orders"),
            "last_processed_timestamp_location": str(folder / "lastprocess" / "orders"),
        },
        "cdc": {"poll_interval_sec": 0.2, "batch_limit": 1000, "default_start_timestamp": "2025-11-18 00:00:00"},
        "datalake": {"path": str(folder / "output" / "orders"), "format": "parquet"},
        "consumer": {"trigger_interval_ms": 200},
    }
    made = Pipeline(folder, database, config)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def purchases(pipeline: Pipeline) -> Pipeline:
    """The pipeline's folder and services under a configuration in the documents' words, one partition for order."""
    topic = f"{pipeline.topic}_purchases"
    pipeline.config = {
        "kafka": {
            "bootstrap_servers": pipeline.database.services.brokers,
            "topic_name": topic,
            "consumer_group": f"{topic}_group",
            "num_partitions": 1,
        },
        "streaming": {"checkpoint_location": str(pipeline.folder / "checkpoints")},
        "datalake": {"path": str(pipeline.folder / "output" / "orders")},
        "consumer": {"trigger_interval_ms": 200},
    }
    topics.create(pipeline.database.services.brokers, topic)
    return pipeline


@contextlib.contextmanager
def ended(child: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """A child that has ended when the test has, whatever came between; ``Popen`` by itself waits without limit."""
    with child:
        try:
            yield child
            child.wait(END_TIMEOUT_SEC)
        finally:
            if child.poll() is None:
                # First by a signal that it can answer: what it started itself goes with it.
                child.terminate()
                try:
                    child.wait(END_TIMEOUT_SEC)
                except subprocess.TimeoutExpired:
                    child.kill()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """``eventually(condition, what, timeout_sec=30)``: wait for a condition, or fail and say what was waited for."""

    def wait(condition: Callable[[], bool], what: str, timeout_sec: float = 30.0) -> None:
        if not process.wait_until(condition, timeout_sec):
            pytest.fail(f"waited {timeout_sec:.0f} s for {what}")

    return wait


def _environment() -> dict[str, str]:
    """Ours, without settings that would come before the test's configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FOODSTREAM__")}
