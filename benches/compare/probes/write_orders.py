"""Inserts orders on a schedule that nothing behind the table can hold up: an open loop, run as a program of its own.

The time a transaction was meant to begin stands in its rows, as ``customer_name``, so a late writer cannot hide a
late row. The program tells on standard output, as JSON, when each transaction was meant to begin, when it was sent
and when its commit was acknowledged, in nanoseconds of the host's monotonic clock, which all processes share.
"""

import json
import random
import sys
import time
from dataclasses import asdict, dataclass

import psycopg

# Everything but id and time is made by the server from the id, so that sending a row costs the writer next to nothing.
_INSERT = """
    INSERT INTO orders (order_id, customer_name, restaurant_name, item, amount, order_status)
    SELECT i, %s, 'Restaurant ' || i * 7919 %% 8, 'Dish ' || i * 7907 %% 32, (5000 + i * 7901 %% 95000) / 100.0,
           (ARRAY['PLACED', 'PREPARING', 'DELIVERED', 'CANCELLED'])[1 + i * 7883 %% 4]
      FROM generate_series(%s::bigint, %s::bigint) AS i
"""
# Long enough that the first transaction finds its connection and its statement ready.
_LEAD_NS = 200_000_000


@dataclass(frozen=True)
class Schedule:
    """Transactions of ``rows`` orders each, one in every slot of time, at a random moment of it.

    Random, since a fixed step could stay in step with what polls the table.
    """

    first_id: int
    rows: int
    transactions: int
    slot_ns: int
    seed: int

    @property
    def last_id(self) -> int:
        """Id of the last order."""
        return self.first_id + self.rows * self.transactions - 1


@dataclass(frozen=True)
class Transaction:
    """When one was meant to begin, was sent, and was acknowledged as committed."""

    intended_ns: int
    sent_ns: int
    committed_ns: int


def _insert(schedule: Schedule, dsn: str) -> list[Transaction]:
    dice = random.Random(schedule.seed)
    done = []
    # Each statement is a transaction of its own; `created_at` is the server's clock at its beginning.
    with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        start_ns = time.monotonic_ns() + _LEAD_NS
        # Inserts nothing.
        cursor.execute(_INSERT, ("", 1, 0), prepare=True)
        for number in range(schedule.transactions):
            intended_ns = start_ns + number * schedule.slot_ns + dice.randrange(schedule.slot_ns)
            first = schedule.first_id + number * schedule.rows
            time.sleep(max(0, intended_ns - time.monotonic_ns()) / 1e9)
            sent_ns = time.monotonic_ns()
            cursor.execute(_INSERT, (str(intended_ns), first, first + schedule.rows - 1), prepare=True)
            done.append(Transaction(intended_ns, sent_ns, time.monotonic_ns()))
    return done


def main() -> None:
    """Arguments: the schedule as JSON, the database's URL."""
    schedule, dsn = sys.argv[1:]
    json.dump([asdict(transaction) for transaction in _insert(Schedule(**json.loads(schedule)), dsn)], sys.stdout)


if __name__ == "__main__":
    main()
