"""All parts in turn on one PostgreSQL and one Kafka, and the report after each of them."""

import importlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from foodstream._stack.errors import StackError

from compare import machine, report
from compare.data import Size
from compare.process import Failed
from compare.sections import Options, Section
from compare.services import services

# Whether a part is measured with every kind of rows, or with the first one alone.
PARTS = {"consume": True, "start": False, "publish": True, "latency": False, "footprint": False}


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and the folder the report goes to."""

    rows: int
    rounds: int
    kinds: Sequence[str]
    parts: Sequence[str]
    seed: int
    output: Path


def measure(asked: Asked) -> list[str]:
    """Runs the parts and writes ``bench.json`` and ``bench.md``; returns a line for each part that failed."""
    failed: list[str] = []
    load_before = machine.load()
    with services() as running:
        done: dict[str, Any] = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "load_before": load_before,
            "machine": machine.describe(),
            "versions": machine.versions(running),
            "options": {"rows": asked.rows, "rounds": asked.rounds, "seed": asked.seed, "kinds": list(asked.kinds)},
            "sections": [],
        }
        for name in asked.parts:
            for kind in asked.kinds if PARTS[name] else asked.kinds[:1]:
                _say(f"== {name}, {kind}")
                with tempfile.TemporaryDirectory(prefix="foodstream-bench-") as folder:
                    options = Options(Size(asked.rows, kind), asked.rounds, asked.seed, Path(folder))
                    try:
                        section: Section = importlib.import_module(f"compare.{name}").run(running, options, _say)
                    except (Failed, StackError, KafkaException) as error:
                        failed.append(f"{name}, {kind}: {error}")
                        _say(f"failed: {error}")
                        continue
                done["sections"].append(report.section_data(section))
                _write(asked.output, done)
    return failed


def _write(folder: Path, done: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(report.markdown(done), encoding="utf-8")
    _say(f"written: {folder / 'bench.md'}, {folder / 'bench.json'}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
