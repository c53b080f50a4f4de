"""The documents' streaming job on PySpark: Kafka, ``from_json``, filters, Parquet partitioned by date.

    consume_pyspark.py '{"brokers": "…", "topic": "…", "batch": 500000, "spark": {"spark.driver.memory": "2g"},
                         "kafka": {}, "lake": "…", "checkpoint": "…"}'

``trigger(availableNow=True)``: it ends at the offsets that were there when it started. Amounts are doubles as in the
documents' schema, and what breaks a rule is dropped.
"""

import json
import sys
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType, TimestampType

SCHEMA = StructType(
    [
        StructField("order_id", LongType()),
        StructField("customer_name", StringType()),
        StructField("restaurant_name", StringType()),
        StructField("item", StringType()),
        StructField("amount", DoubleType()),
        StructField("order_status", StringType()),
        StructField("created_at", TimestampType()),
    ]
)
STATUSES = ["PLACED", "PREPARING", "DELIVERED", "CANCELLED"]


def main(asked: dict[str, Any]) -> None:
    """Carries over what the topic holds, and ends."""
    builder = SparkSession.builder.appName("orders_stream_consumer").master(f"local[{asked['cores']}]")
    for name, value in asked["spark"].items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    messages = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", asked["brokers"])
        .option("subscribe", asked["topic"])
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", asked["batch"])
        .option("kafka.isolation.level", "read_committed")
        .options(**asked["kafka"])
        .load()
    )
    orders = messages.select(f.from_json(f.col("value").cast("string"), SCHEMA).alias("order")).select("order.*")
    valid = orders.filter(
        f.col("order_id").isNotNull()
        & (f.col("amount") > 0)
        & (f.trim("customer_name") != "")
        & (f.trim("restaurant_name") != "")
        & (f.trim("item") != "")
        & f.col("order_status").isin(STATUSES)
        & f.col("created_at").isNotNull()
    )
    query = (
        valid.withColumn("date", f.to_date("created_at"))
        .writeStream.format("parquet")
        .option("path", asked["lake"])
        .option("checkpointLocation", asked["checkpoint"])
        .partitionBy("date")
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
