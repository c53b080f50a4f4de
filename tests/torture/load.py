"""Load: rows in every way that makes them hard to see once, invalid ones among them, and poison on the topic.

What was written is not remembered here: after a connection breaks in the middle of a COMMIT nobody but the table
knows. The oracles ask the table, and the topic for the poison.
"""

import json
import queue
import random
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from confluent_kafka import KafkaException, Producer

from torture.watch import CANARY, POISON

WRITERS = 4
# Longest wait inside a transaction; a poll and its margin take a fifth of a second, so commits come before and after.
LONGEST_WAIT_SEC = 0.6
RETRY_SEC = 0.1
# Rows after the quota: enough for every batch to have some, and for a fault to fall into work.
TRICKLE_ROWS_PER_SEC = 200.0
# One statement, so one `created_at`, cut by many pages of the producer.
TOP_UP_ROWS = 10_000
JOIN_TIMEOUT_SEC = 60.0

POISON_EVERY_SEC = 0.5

Connect = Callable[[], psycopg.Connection[Any]]

INSERT = "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
# Valid, and unpleasant on the way through JSON, Arrow and Parquet.
TEXTS = [
    "Alice Smith",
    'quoted "twice"',
    "back\\slash and \\n that is none",
    "line\nbreak, tab\t, return\r, bell\x07",
    "pâté 🍕 \U0010ffff",
    "\u202eright to left\u202c",
    "' ; DROP TABLE orders; --",
    "{}[],:null",
    " spaces around ",
    "x" * 255,
]
STATUSES = ["PLACED", "PREPARING", "DELIVERED", "CANCELLED"]
MANY = (
    f"{INSERT} SELECT (%(texts)s::text[])[1 + (%(from)s + n) %% {len(TEXTS)}], "
    f"(%(texts)s::text[])[1 + (%(from)s + n * 7) %% {len(TEXTS)}], 'item ' || n, "
    f"(1 + (%(from)s + n::bigint * 9973) %% 9999999999) / 100.0, (%(statuses)s::text[])[1 + n %% {len(STATUSES)}] "
    "FROM generate_series(1, %(rows)s) n"
)
ONE = f"{INSERT} VALUES (%s, %s, %s, %s, %s)"
# Each breaks a rule of the documents, the last ones several.
INVALID: list[tuple[Any, ...]] = [
    ("c", "r", "i", "-0.01", "PLACED"),
    ("c", "r", "i", "-99999999.99", "PLACED"),
    ("c", "r", "i", "0.00", "PLACED"),
    ("c", "r", "i", "1.00", "LOST"),
    ("c", "r", "i", "1.00", "placed"),
    ("c", "r", "i", "1.00", None),
    ("", "r", "i", "1.00", "PLACED"),
    ("c", "  \t ", "i", "1.00", "PLACED"),
    ("c", "r", "", "1.00", "PLACED"),
    (None, "r", "i", "1.00", "PLACED"),
    ("c", None, "i", "1.00", "PLACED"),
    ("c", "r", None, "1.00", "PLACED"),
    ("c", "r", "i", None, "PLACED"),
    ("", " ", None, "-5.00", "LOST"),
    (None, None, None, None, None),
]
# What a foreign producer could put on the topic, none of it an order.
_ORDER = (
    b'{"order_id":1,"customer_name":"c","restaurant_name":"r","item":"i","amount":1.00,'
    b'"order_status":"PLACED","created_at":"2025-11-18T10:00:00Z"}'
)
POISONS: list[bytes | None] = [
    None,
    b"",
    b"hello",
    _ORDER[:-10],
    _ORDER + b"{}",
    _ORDER.replace(b'"c"', b'"\xff\xfe"'),
    _ORDER.replace(b'"c"', b'"\\ud800"'),
    b"[1, 2]",
    b"42",
    b"null",
    _ORDER[:-1] + b',"amount":1}',
    b'{"order_id":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    _ORDER.replace(b"1.00", b"1e400"),
    _ORDER.replace(b"1.00", b"1.005"),
    _ORDER.replace(b'"order_id":1', b'"order_id":9223372036854775808'),
    _ORDER.replace(b"2025-11-18", b"2025-02-30"),
    _ORDER.replace(b'"created_at":"2025-11-18T10:00:00Z"', b'"created_at":null'),
    json.dumps({"event": "click", "at": 5}).encode(),
    b"\x00" * 64,
    b"x" * 100_000,
]


class Pace:
    """So many rows a second, for all writers together."""

    def __init__(self, rows_per_sec: float) -> None:
        self.rows_per_sec = rows_per_sec
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, rows: int) -> float:
        """Counts the rows, and says for how many seconds whoever takes them should wait."""
        with self._lock:
            self.taken += rows
            return rows / self.rows_per_sec * WRITERS


class Writer(threading.Thread):
    """One session after the other, and its ways of writing."""

    def __init__(self, number: int, seed: int, connect: Connect, pace: Pace, quota: int) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self.number = number
        self.random = random.Random(f"{seed} writer {number}")
        self.connect = connect
        self.pace = pace
        self.quota = quota
        self.stopping = threading.Event()
        self.prepared = 0
        self.failed: Exception | None = None

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with self.connect() as connection:
                    self.resolve(connection)
                    while not self.stopping.is_set():
                        self._one_way(connection)
            except psycopg.OperationalError:
                # The server is away, or has ended this session; that is the point.
                self.stopping.wait(RETRY_SEC)
            except Exception as error:  # a thread's exception would otherwise be lost, and the load with it
                self.failed = error
                return

    def _one_way(self, connection: psycopg.Connection[Any]) -> None:
        ways = [self._many, self._late, self._savepoints, self._two_phase, self._invalid]
        (way,) = self.random.choices(ways, weights=[4, 2, 2, 1, 2])
        self.stopping.wait(self.pace.take(way(connection)))

    def _rows(self) -> int:
        if self.pace.taken > self.quota:
            self.pace.rows_per_sec = TRICKLE_ROWS_PER_SEC
            return self.random.randint(1, 20)
        return self.random.choice([1, 10, 100, 500, 1_500])

    def _insert(self, connection: psycopg.Connection[Any], rows: int) -> int:
        start = self.random.randrange(1 << 30)
        connection.execute(MANY, {"texts": TEXTS, "statuses": STATUSES, "from": start, "rows": rows})
        return rows

    def _wait(self) -> None:
        # Mostly short; one in five long enough for several polls.
        longest = LONGEST_WAIT_SEC if self.random.random() < 0.2 else LONGEST_WAIT_SEC / 10
        self.stopping.wait(self.random.uniform(0.0, longest))

    def _end(self) -> str:
        return "COMMIT" if self.random.random() < 0.8 else "ROLLBACK"

    def _many(self, connection: psycopg.Connection[Any]) -> int:
        return self._insert(connection, self._rows())

    def _invalid(self, connection: psycopg.Connection[Any]) -> int:
        rows = self.random.randint(1, 8)
        for _ in range(rows):
            connection.execute(ONE, self.random.choice(INVALID))
        return rows

    def _late(self, connection: psycopg.Connection[Any]) -> int:
        connection.execute("BEGIN")
        self._wait()
        rows = self._insert(connection, self._rows())
        self._wait()
        connection.execute(self._end())
        return rows

    def _savepoints(self, connection: psycopg.Connection[Any]) -> int:
        rows = 0
        connection.execute("BEGIN")
        for level in range(self.random.randint(1, 3)):
            connection.execute(f"SAVEPOINT s{level}")
            rows += self._insert(connection, min(self._rows(), 100))
            self._wait()
            if self.random.random() < 0.4:
                connection.execute(f"ROLLBACK TO s{level}")
                rows += self._insert(connection, 1)
        connection.execute(self._end())
        return rows

    def _two_phase(self, connection: psycopg.Connection[Any]) -> int:
        self.prepared += 1
        gid = f"torture-{self.number}-{self.prepared}"
        connection.execute("BEGIN")
        rows = self._insert(connection, min(self._rows(), 100))
        connection.execute(f"PREPARE TRANSACTION '{gid}'")
        self._wait()
        connection.execute(f"{self._end()} PREPARED '{gid}'")
        return rows

    def resolve(self, connection: psycopg.Connection[Any]) -> None:
        """Ends what an earlier session of this writer left prepared: it would hold the horizon for ever."""
        left = connection.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE %s",
            [f"torture-{self.number}-%"],
        ).fetchall()
        for (gid,) in left:
            connection.execute(f"{self._end()} PREPARED '{gid}'")


class Canaries(threading.Thread):
    """Rows that are waited for: each is inserted as soon as the server takes it."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(name="canaries", daemon=True)
        self.connect = connect
        self.stopping = threading.Event()
        self.sent = 0
        self._wanted: queue.Queue[int] = queue.Queue()

    def send(self) -> int:
        """Has one more inserted; returns its number."""
        self.sent += 1
        self._wanted.put(self.sent)
        return self.sent

    def run(self) -> None:
        number: int | None = None
        while not self.stopping.is_set():
            try:
                with self.connect() as connection:
                    while not self.stopping.is_set():
                        if number is None:
                            number = self._next()
                        if number is not None:
                            # Twice, if the server ended the session behind the COMMIT: two rows, each to arrive once.
                            connection.execute(ONE, (f"{CANARY}{number}", "r", "i", "1.00", "PLACED"))
                            number = None
            except psycopg.OperationalError:
                self.stopping.wait(RETRY_SEC)

    def _next(self) -> int | None:
        try:
            return self._wanted.get(timeout=RETRY_SEC)
        except queue.Empty:
            return None


class Poisoner(threading.Thread):
    """A foreign producer that knows nothing of orders. What it does not get rid of is no harm."""

    def __init__(self, brokers: str, topic: str, seed: int) -> None:
        super().__init__(name="poisoner", daemon=True)
        self.random = random.Random(f"{seed} poison")
        self.topic = topic
        self.stopping = threading.Event()
        self.producer = Producer({"bootstrap.servers": brokers, "message.timeout.ms": 5_000, "log_level": 2})

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(POISON_EVERY_SEC):
            number += 1
            try:
                self.producer.produce(self.topic, key=b"%s %d" % (POISON, number), value=self.random.choice(POISONS))
            except (BufferError, KafkaException):
                continue
            finally:
                self.producer.poll(0)
        self.producer.flush(JOIN_TIMEOUT_SEC)


class Load:
    """All of it at once, until ``stop``."""

    def __init__(self, seed: int, connect: Connect, brokers: str, topic: str, rows: int, rows_per_sec: float) -> None:
        self.connect = connect
        self.rows = rows
        self.pace = Pace(rows_per_sec)
        self.writers = [Writer(number, seed, connect, self.pace, rows) for number in range(WRITERS)]
        self.canaries = Canaries(connect)
        self.poisoner = Poisoner(brokers, topic, seed)

    def start(self) -> None:
        """All but the poison: a topic that holds messages before the pipeline's first is refused, and rightly."""
        for thread in (*self.writers, self.canaries):
            thread.start()

    def poison(self) -> None:
        self.poisoner.start()

    def stop(self) -> None:
        """Ends the writers and the poison; canaries can still be sent. No transaction is left open or prepared."""
        threads: list[Writer | Poisoner] = [*self.writers, self.poisoner]
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(JOIN_TIMEOUT_SEC)
            assert not thread.is_alive(), f"{thread.name} hangs"
        failed = [writer.failed for writer in self.writers if writer.failed is not None]
        if failed:
            raise failed[0]
        with self.connect() as connection:
            for writer in self.writers:
                writer.resolve(connection)

    def top_up(self) -> None:
        """What is missing of the rows asked for, many of one `created_at`; rolled back ones were counted, too."""
        with self.connect() as connection:
            ((there,),) = connection.execute("SELECT count(*) FROM orders").fetchall()
            while there < self.rows:
                rows = min(TOP_UP_ROWS, self.rows - there)
                there += self.writers[0]._insert(connection, rows)

    def close(self) -> None:
        threads: list[Writer | Poisoner | Canaries] = [*self.writers, self.poisoner, self.canaries]
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(JOIN_TIMEOUT_SEC)
