"""The contestants of ``consume`` and ``start``: how each reads one topic to its end, and what it left behind.

Settings are the best of small grids, tried on two cores; the grid stands beside the choice in the words of the table.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import fingerprint, packages, product, spark
from compare.contest import Contestant, Outcome
from compare.jars import Unavailable
from compare.process import Failed, Usage, run
from compare.services import Services

FOODSTREAM = "foodstream"
DOCUMENTED = "foodstream, 1,000 a batch"
POLARS = "Python with polars"
PYSPARK = "PySpark"
KCAT = "kcat, drain only"

BATCH = 200_000
POLARS_SETTINGS: Mapping[str, Any] = {
    "batch": 100_000,
    "ahead": True,
    "consumer": {"fetch.queue.backoff.ms": 2, "queued.min.messages": 20_000},
}
SPARK_GRID = "500,000 messages a batch, heap 2 GB, as many shuffle partitions (tried: 500,000 and 2,000,000 a batch)"
POLARS_GRID = (
    "100,000 messages a batch, the next one fetched meanwhile, `fetch.queue.backoff.ms` 2, `queued.min.messages` "
    "20,000 (tried: 50,000 to 1,000,000 a batch, one after the other, 2, 5 and 1,000 ms, 20,000 to 1,000,000)"
)
CORES = len(os.sched_getaffinity(0))
SPARK_SETTINGS: Mapping[str, Any] = {
    "cores": CORES,
    "batch": 500_000,
    "kafka": {},
    "spark": {
        "spark.driver.memory": "2g",
        "spark.sql.shuffle.partitions": str(CORES),
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
    },
}
KCAT_GRID = "to /dev/null, offset 0 as a number, defaults (tried: larger queues, larger fetches)"

_PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Topic:
    """What is read."""

    services: Services
    name: str
    # Offset after the last message of each partition.
    ends: Mapping[int, int]
    messages: int
    # How many of them break a rule.
    invalid: int


def foodstream(topic: Topic) -> Contestant:
    """The consumer as shipped, but for batches as large as its peers'."""
    settings = f"{packages.version('foodstream')}; exactly-once, quarantine, fsync; zstd(1); {BATCH:,} messages a batch"
    return Contestant(FOODSTREAM, settings, lambda folder: _foodstream(topic, folder, BATCH))


def documented(topic: Topic) -> Contestant:
    """The consumer with the documents' batches."""
    return Contestant(
        DOCUMENTED,
        "the same with the documents' 1,000 messages a batch",
        lambda folder: _foodstream(topic, folder, 1_000),
    )


def polars(topic: Topic) -> Contestant:
    """Python by hand."""
    missing = packages.missing("confluent-kafka", "polars")
    settings = f"`consume` → joined buffer → `read_ndjson` → Parquet, zstd(1), fsync; {POLARS_GRID}"
    if missing is None:
        versions = f"confluent-kafka {packages.version('confluent-kafka')}, polars {packages.version('polars')}"
        settings = f"{versions}; {settings}"
    return Contestant(POLARS, settings, lambda folder: _polars(topic, folder), missing)


def pyspark(topic: Topic) -> Contestant:
    """The documents' job."""
    missing = packages.missing("pyspark")
    settings = f"the documents' job, `availableNow`, local[{CORES}], snappy; {SPARK_GRID}"
    classes = ""
    if missing is None:
        settings = f"{packages.version('pyspark')} on Java {spark.java().version}; {settings}"
        try:
            classes = spark.class_path()
        except Unavailable as error:
            missing = str(error)
    return Contestant(PYSPARK, settings, lambda folder: _pyspark(topic, folder, classes), missing)


def kcat(topic: Topic) -> Contestant:
    """The pace of librdkafka: messages are read and thrown away."""
    command = shutil.which("kcat") or shutil.which("kafkacat")
    missing = None if command else "there is no kcat on the PATH (package kcat of Debian, of Homebrew)"
    settings = KCAT_GRID
    if command is not None:
        printed = subprocess.run([command, "-V"], capture_output=True, text=True, check=False).stdout
        versions = re.search(r"Version (\S+).*librdkafka (\S+)", printed)
        settings = f"{versions[1]}, librdkafka {versions[2]}; {settings}" if versions else settings
    return Contestant(KCAT, settings, lambda folder: _kcat(topic, folder, command or ""), missing)


def _foodstream(topic: Topic, folder: Path, batch: int) -> Outcome:
    services = topic.services
    changes: dict[str, dict[str, object]] = {
        "kafka": {"consumer_group": f"bench-{folder.name}"},
        "consumer": {"maxOffsetsPerTrigger": batch},
        "datalake": {"compression": "zstd(1)"},
    }
    file = product.configuration(folder, services.postgres, services.brokers, topic.name, changes)
    usage = product.foodstream(folder, "consumer", "--once", "-q", "--config", file)
    _check_rejected(topic, folder / "lake_quarantine")
    return _outcome(topic, usage, folder / "lake", list((folder / "checkpoint").glob("commits/*/*.json")))


def _polars(topic: Topic, folder: Path) -> Outcome:
    asked = {
        **POLARS_SETTINGS,
        "brokers": topic.services.brokers,
        "topic": topic.name,
        "starts": dict.fromkeys(topic.ends, 0),
        "rows": topic.messages,
        "lake": str(folder / "lake"),
        "quarantine": str(folder / "quarantine"),
    }
    usage = _peer("consume_polars.py", asked, folder)
    _check_rejected(topic, folder / "quarantine")
    return _outcome(topic, usage, folder / "lake")


def _pyspark(topic: Topic, folder: Path, classes: str) -> Outcome:
    asked = {
        **SPARK_SETTINGS,
        "brokers": topic.services.brokers,
        "topic": topic.name,
        "lake": str(folder / "lake"),
        "checkpoint": str(folder / "checkpoint"),
    }
    asked["spark"] = {
        **SPARK_SETTINGS["spark"],
        "spark.driver.extraClassPath": classes,
        "spark.local.dir": str(folder / "temporary"),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    environment = {"JAVA_HOME": str(spark.java().home_for_spark(folder)), "PYSPARK_PYTHON": sys.executable}
    usage = _peer("consume_pyspark.py", asked, folder, environment)
    return _outcome(topic, usage, folder / "lake", [folder / "lake" / "_spark_metadata" / "0"])


def _kcat(topic: Topic, folder: Path, command: str) -> Outcome:
    # The offset as a number: a logical one, asked before the leader is known, costs half a second.
    words = [command, "-C", "-b", topic.services.brokers, "-t", topic.name, "-o", "0", "-e", "-q"]
    # The log is where output goes; what is read must go nowhere.
    usage = run(["sh", "-c", 'exec "$@" > /dev/null', "sh", *words], folder / "kcat.log", folder=folder)
    return Outcome(usage, topic.messages)


def _peer(script: str, asked: Mapping[str, Any], folder: Path, environment: Mapping[str, str] | None = None) -> Usage:
    return run(
        [sys.executable, _PEERS / script, json.dumps(asked)],
        folder / f"{script}.log",
        environment={**os.environ, **(environment or {})},
        folder=folder,
    )


def _outcome(topic: Topic, usage: Usage, lake: Path, commits: Sequence[Path] = ()) -> Outcome:
    """What a run left. Rows count as there from the first file on, with ``commits`` from the first of these on."""
    files = fingerprint.files(lake)
    if not files:
        raise Failed(f"nothing was written to {lake}")
    # A rename changes only this one of a file's times.
    first = max(min(path.stat().st_ctime for path in paths) for paths in (files, commits) if paths)
    return Outcome(
        usage,
        topic.messages,
        bytes_written=sum(path.stat().st_size for path in files),
        fingerprint=fingerprint.of_lake(lake),
        extra={"first_row_sec": first - usage.began, "files": len(files)},
    )


def _check_rejected(topic: Topic, quarantine: Path) -> None:
    rejected = fingerprint.count(quarantine)
    if rejected != topic.invalid:
        raise Failed(f"{quarantine} holds {rejected} rows; {topic.invalid} break a rule")
