"""What is tortured: services of its own, proxies before them, the pipeline's configuration, and its crew.

The pipeline reaches PostgreSQL and Kafka through the proxies alone; load and oracles go to the services themselves.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from foodstream._stack import ports
from foodstream._stack.kafka import Kafka
from foodstream._stack.postgres import Postgres
from foodstream.local import DATABASE, PASSWORD, USER

from torture.crew import Crew
from torture.ledger import Ledger
from torture.oracles import Pipeline
from torture.proxy import Proxy
from torture.services import HEARTBEAT_MS, SESSION_MS, Disk, ProxiedStack

TOPIC = "torture_orders"
PARTITIONS = 4
# Verifying two million rows with the tests' build took more than two minutes of a busy machine.
COMMAND_TIMEOUT_SEC = 600.0

# Rows of every kind the rules speak of, in a table that lets them in.
OPEN_TABLE = """
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_order_status_check;
ALTER TABLE orders ALTER customer_name DROP NOT NULL, ALTER restaurant_name DROP NOT NULL, ALTER item DROP NOT NULL,
    ALTER amount DROP NOT NULL;
"""


class Rig:
    """Everything that runs, in one folder. ``close`` ends it; the folder is the caller's."""

    def __init__(self, folder: Path, ledger: Ledger, brokers: int = 1) -> None:
        self.folder = folder
        self.ledger = ledger
        self.stack = ProxiedStack(folder / "stack", brokers)
        self.disk = Disk(folder / "lake")
        self.crew = Crew(folder / "orders_stream.yml", folder, ledger)
        self.to_postgres = Proxy(self.stack.spare(), 0)
        self.to_brokers = [Proxy(outer, inner, frames=True) for outer, inner in self.stack.outer_ports]
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
        for proxy in (self.to_postgres, *self.to_brokers):
            proxy.start()
        self.config = self._configuration()
        self.crew.config.write_text(json.dumps(self.config, indent=2), encoding="utf-8")

    def close(self) -> None:
        """Ends the crew, the proxies and the services, and gives the disk back: each, though another one raises."""
        with contextlib.ExitStack() as ends:
            # Called from the last to the first.
            ends.callback(self.disk.close)
            ends.callback(self._keep_what_was_found)
            ends.callback(self.stack.reset)
            ends.callback(self._wake_services)
            for proxy in (self.to_postgres, *self.to_brokers):
                ends.callback(proxy.stop)
            ends.callback(self.crew.close)

    def _wake_services(self) -> None:
        services: list[Postgres | Kafka] = []
        if self.stack.exists():
            services = [self.stack.postgres, *self.stack.nodes]
        for running in (service.running for service in services):
            if running is not None:
                # One that was stopped by SIGSTOP hears nothing else; one that has just ended needs nothing.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGCONT)

    def _keep_what_was_found(self) -> None:
        if self.disk.mounted and self.ledger.findings:
            # Whoever looks into what was found wants to see the files, and they go with the disk.
            shutil.copytree(self.disk.folder, self.folder / "lake-as-found", ignore=shutil.ignore_patterns("ballast"))

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
        copies = len(self.to_brokers)
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
                "brokers": ",".join(f"{ports.LOOPBACK}:{proxy.port}" for proxy in self.to_brokers),
                "topic": self.topic,
                "num_partitions": PARTITIONS,
                "replication_factor": copies,
                "topic_config": {"min.insync.replicas": max(1, copies - 1)},
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
            "aggregate": {"topic": f"{self.topic}_totals"},
            "retry": {"max_backoff_sec": 0.5},
        }
