"""What a producer left on a topic, as one hash a column that does not depend on order.

    publish_fingerprint.py topic BROKERS TOPIC      all committed messages
    publish_fingerprint.py table DSN                what they must be: all rows of the table

Prints one JSON object: the count, a hash for the message key and for each column, and one for whole rows, so that
values swapped between rows show as well. A process of its own, so that the memory it takes is given back before the
next run is measured. What producers write in different ways is the same here:

key         ``7`` and ``{"order_id":7}``
amount      ``350.5``, ``350.50`` and ``"350.50"``: compared in cents
created_at  RFC 3339 in UTC, and microseconds since 1970
"""

import json
import sys
import time

import polars
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

COLUMNS = ("order_id", "customer_name", "restaurant_name", "item", "amount", "order_status", "created_at")
_IN_TABLE = {"created_at": """to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""}
_BATCH = 50_000
# A call returns so long after it began if there are fewer messages.
_WAIT_SEC = 0.1
_PATIENCE_SEC = 30.0


def of_topic(brokers: str, topic: str) -> dict[str, str]:
    """Of all committed messages."""
    keys, values = _read(brokers, topic)
    rows = polars.read_ndjson(b"\n".join(values), infer_schema_length=1_000).select(COLUMNS)
    key = polars.Series("key", keys).cast(polars.String).str.extract(r"(\d+)").cast(polars.Int64)
    return _fingerprint(rows.with_columns(key))


def of_table(dsn: str) -> dict[str, str]:
    """Of all rows of the table."""
    columns = ", ".join(_IN_TABLE.get(name, name) for name in COLUMNS)
    text = bytearray()
    statement = f"COPY (SELECT {columns}, order_id FROM orders) TO STDOUT (FORMAT csv)"
    with psycopg.connect(dsn) as connection, connection.cursor().copy(statement) as copy:
        for chunk in copy:
            text += chunk
    types = {name: polars.Int64 if name in ("order_id", "key") else polars.String for name in (*COLUMNS, "key")}
    rows = polars.read_csv(bytes(text), has_header=False, schema=types, empty_string_is_null=False)
    return _fingerprint(rows)


def _read(brokers: str, topic: str) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of all committed messages, from first to last."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": topic,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 2,
        }
    )
    partitions = consumer.list_topics(topic, timeout=_PATIENCE_SEC).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    unread = set(partitions)
    keys: list[bytes] = []
    values: list[bytes] = []
    give_up = time.monotonic() + _PATIENCE_SEC
    while unread:
        messages = consumer.consume(_BATCH, timeout=_WAIT_SEC)
        if messages:
            give_up = time.monotonic() + _PATIENCE_SEC
        elif time.monotonic() > give_up:
            raise SystemExit(f"no message of {topic} came for {_PATIENCE_SEC:.0f} s")
        for message in messages:
            error = message.error()
            if error is None:
                keys.append(message.key() or b"")
                values.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise KafkaException(error)
    consumer.close()
    return keys, values


def _fingerprint(rows: polars.DataFrame) -> dict[str, str]:
    times = rows["created_at"]
    if times.dtype == polars.String:
        times = times.str.to_datetime("%+", time_unit="us", time_zone="UTC")
    cents = (polars.col("amount").cast(polars.Float64) * 100).round().cast(polars.Int64)
    rows = rows.with_columns(cents, times.cast(polars.Int64))
    hashes = {name: _sum(rows[name].hash()) for name in rows.columns}
    return {"count": str(rows.height), "row": _sum(rows.hash_rows()), **hashes}


def _sum(hashes: polars.Series) -> str:
    """Of all hashes, taken in halves, which cannot overflow."""
    number = polars.col("hash")
    halves = polars.DataFrame({"hash": hashes}).select(low=(number % 2**32).sum(), high=number.floordiv(2**32).sum())
    low, high = halves.row(0)
    return f"{(low + (high << 32)) % 2**64:016x}"


if __name__ == "__main__":
    kind, *where = sys.argv[1:]
    print(json.dumps(of_topic(*where) if kind == "topic" else of_table(*where)))
