"""What is tortured: a stack of its own, proxies before its services, the pipeline's configuration, and its crew.

The pipeline reaches PostgreSQL and Kafka through the proxies alone; load and oracles go to the services themselves.
For that the broker has a listener of its own, which it advertises at the proxy's port.
"""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
from foodstream._stack import ports, process
from foodstream._stack.kafka import Kafka
from foodstream._stack.postgres import Postgres
from foodstream.local import DATABASE, PASSWORD, USER, Stack

from torture.crew import Crew
from torture.ledger import Ledger
from torture.oracles import Pipeline
from torture.proxy import Proxy

TOPIC = "torture_orders"
PARTITIONS = 4
# A worker that is gone must not keep its partitions for the usual time: the run would be waiting, not torture.
SESSION_MS, HEARTBEAT_MS = 2_000, 400
COMMAND_TIMEOUT_SEC = 120.0
# Enough for a run, and filled in a moment.
DISK_BYTES = 512 << 20
DISK_CHUNK = 1 << 20
TAKE_AWAY_SEC = 30.0

# Rows of every kind the rules speak of, in a table that lets them in.
OPEN_TABLE = """
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_order_status_check;
ALTER TABLE orders ALTER customer_name DROP NOT NULL, ALTER restaurant_name DROP NOT NULL, ALTER item DROP NOT NULL,
    ALTER amount DROP NOT NULL;
"""


@dataclass(frozen=True)
class ProxiedKafka(Kafka):
    """A broker with a second listener, advertised at a proxy, and with sessions as short as the crew's."""

    inner_port: int = 0
    outer_port: int = 0

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        listener = f"PROXIED://{ports.LOOPBACK}"
        return {
            **settings,
            "listeners": f"{settings['listeners']},{listener}:{self.inner_port}",
            "advertised.listeners": f"{settings['advertised.listeners']},{listener}:{self.outer_port}",
            "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},PROXIED:PLAINTEXT",
            "group.min.session.timeout.ms": SESSION_MS,
        }


class ProxiedStack(Stack):
    """The usual stack but for the broker's listener. The ports are chosen once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.taken: set[int] = set()
        self.inner_port, self.outer_port = self.spare(), self.spare()

    def spare(self) -> int:
        port = ports.spare(self.taken)
        self.taken.add(port)
        return port

    @property
    def kafka(self) -> ProxiedKafka:
        usual = super().kafka
        known = {field.name: getattr(usual, field.name) for field in fields(usual)}
        return ProxiedKafka(**known, inner_port=self.inner_port, outer_port=self.outer_port)


class Rig:
    """Everything that runs, in one folder. ``close`` ends it; the folder is the caller's."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.stack = ProxiedStack(folder / "stack")
        self.disk = Disk(folder / "lake")
        self.crew = Crew(folder / "orders_stream.yml", folder, ledger)
        self.to_postgres = Proxy(self.stack.spare(), 0)
        self.to_broker = Proxy(self.stack.outer_port, self.stack.inner_port, frames=True)
        self.topic = TOPIC
        self.config: dict[str, Any] = {}

    @property
    def lake(self) -> Path:
        return self.disk.folder / "orders"

    @property
    def quarantine(self) -> Path:
        return self.disk.folder / "orders_quarantine"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "last_processed_timestamp.txt"

    def start(self) -> None:
        """Services, proxies and configuration; no member of the crew yet."""
        self.stack.up(self.stack.spare(), self.stack.spare())
        self.stack.postgres.psql(OPEN_TABLE, DATABASE)
        self.to_postgres.target = self.stack.postgres.port
        for proxy in (self.to_postgres, self.to_broker):
            proxy.start()
        self.config = self._configuration()
        self.crew.config.write_text(json.dumps(self.config, indent=2), encoding="utf-8")

    def close(self) -> None:
        """Ends the crew, the proxies and the services, and gives the disk back."""
        self.crew.close()
        for proxy in (self.to_postgres, self.to_broker):
            proxy.stop()
        for service in (self.stack.postgres, self.stack.kafka) if self.stack.exists() else ():
            if service.running is not None:
                # One that was stopped by SIGSTOP hears nothing else.
                os.kill(service.running.pid, signal.SIGCONT)
        self.stack.reset()
        if self.disk.mounted and self.ledger.findings:
            # Whoever looks into what was found wants to see the files, and they go with the disk.
            shutil.copytree(self.disk.folder, self.folder / "lake-as-found", ignore=shutil.ignore_patterns("ballast"))
        self.disk.close()

    def connect(self) -> psycopg.Connection[Any]:
        """A session of the user the pipeline runs as, past the proxy; commits by itself."""
        return psycopg.connect(
            host=ports.LOOPBACK,
            port=self.stack.postgres.port,
            user=USER,
            password=PASSWORD,
            dbname=DATABASE,
            autocommit=True,
            connect_timeout=5,
            application_name="torture",
        )

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the product to its end, whatever its code."""
        words = [*command.split(), "--config", str(self.crew.config), *arguments]
        return self.crew.run(words, COMMAND_TIMEOUT_SEC)

    @property
    def pipeline(self) -> Pipeline:
        """For the oracles: the services themselves, not the proxies."""
        return Pipeline(
            self.connect, self.stack.brokers, self.topic, self.lake, self.quarantine, self.checkpoint, self.run
        )

    def _configuration(self) -> dict[str, Any]:
        return {
            "postgres": {
                "host": ports.LOOPBACK,
                "port": self.to_postgres.port,
                "db": DATABASE,
                "user": USER,
                "password": PASSWORD,
                "table": "orders",
            },
            "kafka": {
                "brokers": f"{ports.LOOPBACK}:{self.to_broker.port}",
                "topic": self.topic,
                "num_partitions": PARTITIONS,
                "replication_factor": 1,
                "consumer_group": f"{self.topic}_group",
                "consumer": {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS},
            },
            "streaming": {
                "checkpoint_location": str(self.checkpoint),
                "last_processed_timestamp_location": str(self.state_file.parent),
            },
            # Small pages and batches: many transactions and commits, and so many places to be killed at.
            "cdc": {"poll_interval_sec": 0.05, "batch_limit": 500, "default_start_timestamp": "2025-11-18 00:00:00"},
            "datalake": {"path": str(self.lake), "format": "parquet"},
            "consumer": {"trigger_interval_ms": 100, "maxOffsetsPerTrigger": 2_000},
            "retry": {"max_backoff_sec": 0.5},
        }


def take_away(service: Postgres | Kafka, how: signal.Signals) -> None:
    """Ends a service by that signal, and returns when it is gone."""
    running = service.running
    assert running is not None, f"{service.folder.name} does not run"
    process.stop(running, [(how, TAKE_AWAY_SEC), (signal.SIGKILL, TAKE_AWAY_SEC)])


class Disk:
    """The folder of the lake; on a small file system of its own where one can be mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False
        self.refusal = ""

    def mount(self) -> bool:
        """Mounts a small tmpfs; False, with ``refusal`` set, where this machine does not let us."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("mount")
        if program is None:
            self.refusal = "there is no mount program"
            return False
        words = [program, "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "torture", str(self.folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        self.mounted = done.returncode == 0
        self.refusal = " ".join(done.stderr.split())
        return self.mounted

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (DISK_CHUNK, 4096, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            self.free()
            # Detached even while something looks into it; what is gone from the tree is freed when nobody does.
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.mounted = False
