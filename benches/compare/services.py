"""The PostgreSQL and the Kafka all contestants share, on this machine, with the broker as a server would run it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from foodstream._stack import ports
from foodstream.local import DATABASE, PASSWORD, USER, Stack

from compare import product
from compare.data import Size, table_sql
from compare.process import Failed

# The local stack's broker is small, for a laptop; that would be the limit of every figure here.
BROKER_JVM = {"KAFKA_HEAP_OPTS": "-Xms1g -Xmx1g", "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseG1GC"}
# As the documents' configuration has it.
PARTITIONS = 3
_TIMEOUT_SEC = 30.0


class Services:
    """Where they are, and what is done to them between runs (never while one is timed)."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @property
    def brokers(self) -> str:
        """``host:port`` of Kafka."""
        return self._stack.brokers

    @property
    def dsn(self) -> str:
        """URL of the database for libpq, with its password."""
        return self._stack.dsn

    @property
    def postgres(self) -> dict[str, object]:
        """The section ``postgres`` of a foodstream configuration."""
        server = self._stack.postgres
        return {"host": ports.LOOPBACK, "port": server.port, "db": DATABASE, "user": USER, "password": PASSWORD}

    def sql(self, text: str) -> str:
        """Runs statements as the administrator in the orders' database; returns what they print."""
        return self._stack.postgres.psql(text, DATABASE)

    def fill_table(self, size: Size) -> None:
        """Leaves exactly the rows of ``size`` in ``orders``, frozen and read once, so that all find it warm."""
        self.sql(f"TRUNCATE orders; {table_sql(size)}")
        self.sql("VACUUM (FREEZE, ANALYZE) orders")
        self.sql("SELECT count(*) FROM orders")

    def create_topic(self, topic: str, partitions: int = PARTITIONS) -> None:
        """An empty topic with the broker's settings."""
        admin = self._admin()
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_TIMEOUT_SEC)

    def delete_topic(self, topic: str) -> None:
        """Frees its space; the broker deletes the files a little later."""
        admin = self._admin()
        admin.delete_topics([topic])[topic].result(_TIMEOUT_SEC)

    def ends(self, topic: str) -> dict[int, int]:
        """Offset after the last message of each partition, as a reader of committed messages sees it."""
        reader = Consumer({"bootstrap.servers": self.brokers, "group.id": "ends"})
        try:
            partitions = reader.list_topics(topic, _TIMEOUT_SEC).topics[topic].partitions
            return {
                number: reader.get_watermark_offsets(TopicPartition(topic, number), _TIMEOUT_SEC)[1]
                for number in sorted(partitions)
            }
        finally:
            reader.close()

    def count(self, topic: str) -> tuple[int, int]:
        """Messages of the topic, and the bytes of their values, by reading them all."""
        ends = {number: end for number, end in self.ends(topic).items() if end > 0}
        settings = {"bootstrap.servers": self.brokers, "group.id": "count", "enable.partition.eof": True}
        reader = Consumer({**settings, "enable.auto.commit": False, "fetch.queue.backoff.ms": 2})
        reader.assign([TopicPartition(topic, number, 0) for number in ends])
        messages, size, ended = 0, 0, 0
        try:
            while ended < len(ends):
                for message in reader.consume(10_000, 0.1):
                    error = message.error()
                    if error is None:
                        messages, size = messages + 1, size + len(message.value() or b"")
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended += 1
                    else:
                        raise Failed(f"the topic {topic} cannot be read: {error.str()}")
        finally:
            reader.close()
        return messages, size

    def fill_topic(self, topic: str, folder: Path) -> None:
        """Publishes all rows of the table to a new topic, by foodstream, in transactions."""
        folder.mkdir(parents=True)
        changes: dict[str, dict[str, object]] = {
            "kafka": {"num_partitions": PARTITIONS},
            "cdc": {"batch_limit": 25_000, "default_start_timestamp": "1970-01-01 00:00:00"},
        }
        file = product.configuration(folder, self.postgres, self.brokers, topic, changes)
        product.foodstream(folder, "producer", "--once", "-q", "--config", file)

    def _admin(self) -> AdminClient:
        # Without the library's words about what was still queued when it is closed.
        return AdminClient({"bootstrap.servers": self.brokers, "log_level": 3})


@contextlib.contextmanager
def services() -> Iterator[Services]:
    """Both services, as long as the block."""
    os.environ.update({name: os.environ.get(name, value) for name, value in BROKER_JVM.items()})
    with tempfile.TemporaryDirectory(prefix="foodstream-bench-") as folder:
        stack = Stack(Path(folder) / "stack")
        try:
            postgres_port = ports.spare(set())
            stack.up(postgres_port, ports.spare({postgres_port}))
            yield Services(stack)
        finally:
            stack.reset()
