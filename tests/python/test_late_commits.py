"""Late commits: rows whose time lies before rows that were published long ago, since their transaction ended later.

Fifty writers open transactions, wait, insert, wait, commit or roll back, in every way PostgreSQL offers, while the
producer polls fast. A plain cursor over ``created_at`` reads the same table beside it, and must lose rows: a load that
it survived would prove nothing.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oracle
import psycopg
import pytest
import topics

WRITERS = 50
LOAD_SEC = 12.0
SEED = 20251118
# A tenth of a second is what a poll and its margin take: waits around it put commits before, between and behind.
LONGEST_WAIT_SEC = 0.6
INSERT = "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status{column}) VALUES {rows}"
# Of its statement instead of its transaction: later than its start, which is all that the promise asks.
STATEMENT_TIME = ", (clock_timestamp() AT TIME ZONE 'UTC')"


class Writer:
    """One session and its ways of writing, each of which begins and ends outside any transaction."""

    def __init__(self, number: int, connection: psycopg.Connection[Any]) -> None:
        self.number = number
        self.random = random.Random(SEED + number)
        self.connection = connection
        self.prepared = 0

    def run(self, until: float) -> set[str]:
        """Writes until then, and says in which ways."""
        done = set()
        ways = [self.plain, self.savepoints, self.one_message, self.chain, self.two_phase, self.implicit]
        while time.monotonic() < until:
            way = self.random.choice(ways)
            way()
            done.add(way.__name__)
        return done

    def send(self, *statements: str) -> None:
        """All in one simple-query message, as a driver without parameters sends them."""
        result = self.connection.pgconn.exec_("; ".join(statements).encode())
        if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
            raise AssertionError(result.error_message.decode())

    def insert(self, rows: int | None = None) -> str:
        rows = rows or self.random.randint(1, 3)
        at_statement = self.random.random() < 0.2
        values = f"('writer {self.number}', 'r', 'i', 1.25, 'PLACED'{STATEMENT_TIME if at_statement else ''})"
        return INSERT.format(column=", created_at" if at_statement else "", rows=", ".join([values] * rows))

    def wait(self) -> str:
        # Mostly short; one in five long enough for several polls.
        longest = LONGEST_WAIT_SEC if self.random.random() < 0.2 else LONGEST_WAIT_SEC / 10
        return f"SELECT pg_sleep({self.random.uniform(0, longest):.4f})"

    def end(self) -> str:
        return "COMMIT" if self.random.random() < 0.8 else "ROLLBACK"

    def plain(self) -> None:
        for statement in ("BEGIN", self.wait(), self.insert(), self.wait(), self.insert(), self.wait(), self.end()):
            self.send(statement)

    def savepoints(self) -> None:
        self.send("BEGIN")
        self.send(self.wait())
        for level in range(self.random.randint(1, 4)):
            self.send(f"SAVEPOINT s{level}", self.insert())
            self.send(self.wait())
            if self.random.random() < 0.4:
                self.send(f"ROLLBACK TO s{level}", self.insert(1))
            elif self.random.random() < 0.5:
                self.send(f"RELEASE s{level}")
        self.send(self.end())

    def one_message(self) -> None:
        """Several transactions in one message: the later ones begin in the past of what their session shows."""
        several = [
            ("BEGIN", self.wait(), self.insert(), self.wait(), self.end()) for _ in range(self.random.randint(2, 4))
        ]
        self.send(*(statement for transaction in several for statement in transaction))

    def chain(self) -> None:
        links = [(self.wait(), self.insert(), self.wait(), f"{self.end()} AND CHAIN") for _ in range(3)]
        if self.random.random() < 0.5:
            self.send("BEGIN", *(statement for link in links for statement in link), self.insert(), self.end())
            return
        self.send("BEGIN")
        for link in links:
            self.send(*link)
        self.send(self.insert(), self.end())

    def two_phase(self) -> None:
        self.prepared += 1
        gid = f"{self.connection.info.dbname}-{self.number}-{self.prepared}"
        self.send("BEGIN", self.wait(), self.insert())
        self.send(self.wait(), f"PREPARE TRANSACTION '{gid}'")
        self.send(self.wait())
        self.send(f"{self.end()} PREPARED '{gid}'")

    def implicit(self) -> None:
        """No BEGIN: each statement alone, and several in one message, which are one transaction."""
        self.send(self.insert())
        self.send(self.insert(), self.wait(), self.insert())


class PlainCursor(threading.Thread):
    """What the documents' script does: again and again the rows later than the latest row seen."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self.connection = connection
        self.stop = threading.Event()
        self.last: Any = "-infinity"
        self.seen: set[int] = set()

    def run(self) -> None:
        # A pause, or cursor and server would take turns on the processor, and the writers hardly run.
        while not self.stop.wait(0.01):
            self.poll()
        # All writers have ended: what it does not see now it will never see.
        self.poll()

    def poll(self) -> None:
        rows = self.connection.execute(
            "SELECT order_id, created_at FROM orders WHERE created_at > %s ORDER BY created_at, order_id", [self.last]
        ).fetchall()
        if rows:
            self.seen.update(order_id for order_id, _ in rows)
            self.last = rows[-1][1]


@pytest.fixture
def two_phase_allowed(database: Any) -> None:
    ((allowed,),) = database.sql("SELECT current_setting('max_prepared_transactions')::int")
    assert allowed >= WRITERS, f"the test server needs max_prepared_transactions >= {WRITERS}, it has {allowed}"


@pytest.mark.usefixtures("two_phase_allowed")
def test_fifty_writers_that_commit_late_lose_no_row_and_repeat_none_where_a_plain_cursor_loses_many(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config["cdc"]["poll_interval_sec"] = 0.02
    producer, consumer = pipeline.start("producer"), pipeline.start("consumer")
    eventually(lambda: oracle.count(pipeline.lake) == 10, "the pipeline to run")
    database = pipeline.database
    sessions = [database.connect() for _ in range(WRITERS)]
    naive = PlainCursor(database.connect())
    naive.start()
    until = time.monotonic() + LOAD_SEC
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(Writer(number, session).run, until) for number, session in enumerate(sessions)]
        ways = set().union(*(work.result() for work in writing))
    naive.stop.set()
    naive.join()
    for session in (*sessions, naive.connection):
        session.close()

    expected = {row[0] for row in oracle.table(database)}
    eventually(lambda: oracle.count(pipeline.lake) >= len(expected), "all rows in the lake")
    assert (producer.poll(), consumer.poll()) == (None, None)
    producer.terminate()
    consumer.terminate()
    assert (producer.wait(10), consumer.wait(10)) == (0, 0)
    # A row that came late to Kafka or lake, a second time, would show now.
    assert pipeline.report("producer", "--once")["rows"] == 0
    assert pipeline.report("consumer", "--once")["rows"] == 0

    published = topics.read(database.services.brokers, pipeline.topic)
    oracle.assert_once([int(message.key or b"") for message in published], expected)
    oracle.assert_conserved(pipeline)
    assert ways == {"plain", "savepoints", "one_message", "chain", "two_phase", "implicit"}
    lost = expected - naive.seen
    assert len(lost) > len(expected) / 100, "the load is too tame: a plain cursor kept up with it"
