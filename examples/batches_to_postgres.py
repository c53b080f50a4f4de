"""Daily sums of the accepted orders in a PostgreSQL table of your own, exactly once.

    python examples/batches_to_postgres.py --target "host=localhost dbname=reports user=me" --available-now

Needs psycopg and pyarrow. The topic is consumed into the lake as always; before each commit ``add_to_days`` adds the
batch to the sums. Adding twice would be wrong, and a kill may come between PostgreSQL's commit and the lake's. So the
batch's id goes into a ledger in the same transaction as the sums, and a batch that comes again is passed over.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import foodstream
import psycopg
import pyarrow
import pyarrow.compute

SUMS = "CREATE TABLE IF NOT EXISTS daily_sales (day date PRIMARY KEY, orders bigint NOT NULL, amount numeric NOT NULL)"
ADD = """
    INSERT INTO daily_sales AS known VALUES (%s, %s, %s)
    ON CONFLICT (day) DO UPDATE SET orders = known.orders + excluded.orders, amount = known.amount + excluded.amount
"""


def days(batch: foodstream.Batch) -> Iterator[tuple[datetime.date, int, Decimal]]:
    """Day, number of orders and their amount; days are UTC."""
    rows = pyarrow.table(batch.accepted)
    rows = rows.append_column("day", pyarrow.compute.cast(rows["created_at"], pyarrow.date32()))
    # In the order of days, so that two workers never wait for each other's rows crosswise.
    sums = rows.group_by("day").aggregate([([], "count_all"), ("amount", "sum")]).sort_by("day")
    for day in sums.to_pylist():
        yield day["day"], day["count_all"], day["amount_sum"]


def add_to_days(ledger: foodstream.BatchLedger[psycopg.Cursor[Any]]) -> Callable[[foodstream.Batch, str], None]:
    """The function for ``for_each_batch``."""

    def add(batch: foodstream.Batch, batch_id: str) -> None:
        with ledger.once(batch_id) as cursor:
            if cursor is not None:
                for day in days(batch):
                    cursor.execute(ADD, day)

    return add


def main() -> int:
    """Consume until Ctrl-C, or up to the present ends of the topic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/orders_stream.yml")
    parser.add_argument("--target", required=True, help="the database that gets the sums, as psycopg takes it")
    parser.add_argument("--available-now", action="store_true", help="end at the present ends of the topic")
    arguments = parser.parse_args()
    with psycopg.connect(arguments.target) as connection, foodstream.Consumer(arguments.config) as consumer:
        ledger = foodstream.BatchLedger(connection, pipeline="daily_sales")
        ledger.create()
        connection.execute(SUMS)
        connection.commit()
        done = consumer.for_each_batch(add_to_days(ledger), available_now=arguments.available_now)
    print(f"{done.batches} batches, {done.accepted} orders, {done.rejected} in quarantine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
