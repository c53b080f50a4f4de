"""Table to topic as one writes it by hand with psycopg and confluent-kafka, at its best.

``publish_psycopg.py DSN BROKERS TOPIC JSON LIMIT`` reads pages of LIMIT rows by keyset, in binary, and publishes each
row as JSON under its key, idempotent and acknowledged by all replicas. JSON is ``server``, where PostgreSQL makes the
text, or ``orjson``. The next page is read while the last one is queued. Nothing is kept of how far it came: a second
run publishes all rows again.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from confluent_kafka import KafkaError, Message, Producer
from psycopg.rows import dict_row

Row = dict[str, Any]

# Rows are messages as they come, with the position of the page's last one beside them. The order is that of the
# table's columns, by their full names: a bare name would mean the one with a zone, which no index has.
SERVER = """
    SELECT order_id::text AS key, convert_to(row_to_json(message)::text, 'UTF8') AS value,
           order_id AS last_id, created_at AT TIME ZONE 'UTC' AS last_at
      FROM (SELECT order_id, customer_name, restaurant_name, item, amount, order_status,
                   created_at AT TIME ZONE 'UTC' AS created_at
              FROM orders
             WHERE (orders.created_at, order_id) > (%s, %s)
             ORDER BY orders.created_at, order_id
             LIMIT %s) AS message
"""
# A double writes the digits of two decimals, and orjson knows no decimals.
CLIENT = """
    SELECT order_id, customer_name, restaurant_name, item, amount::float8 AS amount, order_status, created_at
      FROM orders
     WHERE (created_at, order_id) > (%s, %s)
     ORDER BY created_at, order_id
     LIMIT %s
"""
PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "linger.ms": 50,
    "batch.num.messages": 100_000,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 262_144,
    "delivery.report.only.error": True,
}


def main(dsn: str, brokers: str, topic: str, json: str, limit: str) -> None:
    """Publishes the whole table."""
    failures: list[str] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer({"bootstrap.servers": brokers, **PRODUCER, "on_delivery": on_delivery})
    by_server = json == "server"
    statement, last_at, last_id = (SERVER, "last_at", "last_id") if by_server else (CLIENT, "created_at", "order_id")
    queue: Callable[[Producer, str, list[Row]], None] = queue_messages if by_server else queue_rows
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection, ThreadPoolExecutor(1) as ahead:
        connection.execute("SET timezone = 'UTC'")
        cursor = connection.cursor(binary=True)

        def page(after: tuple[Any, int]) -> list[Row]:
            return cursor.execute(statement, (*after, int(limit))).fetchall()

        rows = page(("-infinity", 0))
        while rows:
            following = ahead.submit(page, (rows[-1][last_at], rows[-1][last_id]))
            queue(producer, topic, rows)
            rows = following.result()
    if producer.flush(60) or failures:
        sys.exit(f"not all rows were delivered: {failures[:1] or 'no answer'}")


def queue_messages(producer: Producer, topic: str, rows: list[Row]) -> None:
    """Hands on rows that are messages already, waiting where librdkafka's queue is full."""
    while rows:
        queued = producer.produce_batch(topic, rows)
        # Takes back what was delivered, which makes room.
        producer.poll(0)
        if queued == len(rows):
            return
        producer.poll(0.01)
        rows = [row for row in rows if row.pop("_error", None) is not None]


def queue_rows(producer: Producer, topic: str, rows: list[Row]) -> None:
    """The same for rows of the table."""
    import orjson

    produce, dumps = producer.produce, orjson.dumps
    form = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    for row in rows:
        key, value = str(row["order_id"]), dumps(row, option=form)
        while True:
            try:
                produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.01)
    producer.poll(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
