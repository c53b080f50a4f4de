"""Debezium on Kafka Connect, standalone: the initial snapshot of ``orders`` into a topic.

Connect is a server and does not end by itself, so a run is over when the topic holds all rows; then the process is
killed, so that nothing of its shutdown is charged to it. What it took is counted as for any other command.
"""

import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from foodstream._stack import ports, runtime
from foodstream._stack.process import wait_until
from foodstream.local import DATABASE

from compare.jars import jars
from compare.process import Failed, Usage, run, tail, without_settings
from compare.services import Services

DEBEZIUM_VERSION = "3.6.1.Final"
_KAFKA = ("connect-runtime", "connect-json", "connect-transforms", "connect-api", "kafka-clients")
# Kafka's first: of two versions the first is taken, and the connector was built against an older one.
COORDINATES = "+".join(
    (
        *(f"org.apache.kafka:{artifact}:{runtime.KAFKA_VERSION}" for artifact in _KAFKA),
        f"io.debezium:debezium-connector-postgres:{DEBEZIUM_VERSION}",
        "org.slf4j:slf4j-simple:1.7.36",
    )
)
ROLE = "bench_debezium"
TIMEOUT_SEC = 600.0
# How often the topic is asked for its end: short beside a run of seconds, and little work for the broker.
LOOK_SEC = 0.05
# The line Connect logs when it is up and turns to its connector.
_STARTED = re.compile(r"^(\S+ \S+) .*Creating connector ", re.MULTILINE)
_LOG_TIME = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True)
class Settings:
    """Of the virtual machine, of Connect, and of the connector, beside what any run needs."""

    jvm: tuple[str, ...]
    worker: Mapping[str, str]
    connector: Mapping[str, str]

    def described(self) -> str:
        """For the table."""
        pairs = {**self.worker, **self.connector}
        return " ".join([*self.jvm, *(f"{key}={value}" for key, value in pairs.items())])


# As Connect's own start script and its example file have it.
DEFAULT = Settings(
    jvm=("-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"),
    worker={},
    connector={},
)
TUNED = Settings(
    jvm=("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC"),
    worker={
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "offset.flush.interval.ms": "60000",
        "producer.compression.type": "lz4",
        "producer.linger.ms": "20",
        "producer.batch.size": "262144",
        "producer.buffer.memory": "67108864",
    },
    connector={
        "snapshot.mode": "initial_only",
        "snapshot.fetch.size": "10000",
        "max.batch.size": "2048",
        "max.queue.size": "8192",
        "poll.interval.ms": "10",
        "decimal.handling.mode": "double",
        "transforms": "flat",
        "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
    },
)


@dataclass(frozen=True)
class Snapshot:
    """What a run took. ``usage`` counts from the start of the process to the last row in the topic."""

    usage: Usage
    # The same from when Connect, being up, turned to the connector.
    from_connector_sec: float


class Debezium:
    """Runs snapshots with a role of its own, as long as the block."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jars = jars(f"debezium-{DEBEZIUM_VERSION}", COORDINATES)
        self._password = secrets.token_urlsafe(18)

    def __enter__(self) -> "Debezium":
        # It makes a slot and a publication, and reads a table that is not its own.
        self._services.sql(f"CREATE ROLE {ROLE} LOGIN SUPERUSER REPLICATION PASSWORD '{self._password}'")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._services.sql(f"DROP ROLE {ROLE}")

    def snapshot(self, settings: Settings, topic: str, complete: Callable[[], bool], folder: Path) -> Snapshot:
        """Publishes ``orders`` to ``topic``, whose name is ``<prefix>.public.orders``, until ``complete`` says so."""
        prefix = topic.split(".")[0]
        log, pid_file = folder / "connect.log", folder / "pid"
        worker, connector = folder / "worker.properties", folder / "connector.properties"
        _write(worker, {**self._worker(folder), **settings.worker})
        _write(connector, {**self._connector(prefix), **settings.connector})
        command: list[str | Path] = [
            # It tells its process id, and ends well when that process is killed.
            "sh",
            "-c",
            f'"$@" & echo $! > {pid_file.name}; wait $!; exit 0',
            "sh",
            runtime.java(),
            *settings.jvm,
            "-Duser.timezone=UTC",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
            "-cp",
            f"{self._jars}/*",
            "org.apache.kafka.connect.cli.ConnectStandalone",
            worker,
            connector,
        ]
        try:
            with ThreadPoolExecutor(1) as beside:
                running = beside.submit(
                    run, command, log, environment=without_settings(), folder=folder, timeout_sec=TIMEOUT_SEC
                )
                done = _await(running, complete, pid_file, log)
                usage = running.result()
        finally:
            self._forget(prefix)
        return Snapshot(replace(usage, wall_sec=done - usage.began), done - _started(log))

    def _worker(self, folder: Path) -> dict[str, str]:
        return {
            "bootstrap.servers": self._services.brokers,
            "listeners": f"http://{ports.LOOPBACK}:{ports.spare(set())}",
            "plugin.discovery": "service_load",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": str(folder / "offsets"),
        }

    def _connector(self, prefix: str) -> dict[str, str]:
        return {
            "name": "orders",
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": ports.LOOPBACK,
            "database.port": str(self._services.postgres["port"]),
            "database.user": ROLE,
            "database.password": self._password,
            "database.dbname": DATABASE,
            "topic.prefix": prefix,
            "table.include.list": "public.orders",
            "plugin.name": "pgoutput",
            "slot.name": _own(prefix),
            "publication.name": _own(prefix),
            "publication.autocreate.mode": "filtered",
        }

    def _forget(self, prefix: str) -> None:
        """Drops what a killed connector leaves in the server, once the server has noticed its end."""
        slot = f"FROM pg_replication_slots WHERE slot_name = '{_own(prefix)}'"
        if not wait_until(lambda: self._services.sql(f"SELECT 1 {slot} AND active").strip() == "", 30.0):
            raise Failed(f"the replication slot {_own(prefix)} is still in use 30 s after the end of its reader")
        self._services.sql(f"SELECT pg_drop_replication_slot(slot_name) {slot}")
        self._services.sql(f"DROP PUBLICATION IF EXISTS {_own(prefix)}")


def _own(prefix: str) -> str:
    return prefix.replace("-", "_")


def _await(running: Future[Usage], complete: Callable[[], bool], pid_file: Path, log: Path) -> float:
    """When the topic was complete, in seconds since 1970; ends the process then, and also if anything goes wrong."""
    try:
        while not complete():
            if running.done():
                running.result()
                raise Failed(f"Kafka Connect ended early; the end of {log}:\n{tail(log)}")
            time.sleep(LOOK_SEC)
        return time.time()
    finally:
        if not running.done() and wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", 5.0):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


def _started(log: Path) -> float:
    found = _STARTED.search(log.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise Failed(f"{log} does not say when the connector started")
    return datetime.strptime(found[1], _LOG_TIME).replace(tzinfo=UTC).timestamp()


def _write(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
