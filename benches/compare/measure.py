"""All parts in turn on one PostgreSQL and one Kafka, and the report after each of them.

What was measured in another run stays in the report if it is asked for, so that a long benchmark can be made in pieces.
"""

import importlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from foodstream._stack.errors import StackError

from compare import machine, report
from compare.data import KINDS, Size
from compare.process import Failed
from compare.sections import Options, Section
from compare.services import services

# Whether a part is measured with every kind of rows, or with the first one alone.
PARTS = {
    "consume": True,
    "start": False,
    "publish": True,
    "latency": False,
    "rhythm": False,
    "footprint": False,
    "status": False,
}
# What must be the same in two runs whose parts stand in one report.
_SAME = ("machine", "versions", "build", "seed")


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and the folder the report goes to."""

    rows: int
    rounds: int
    kinds: Sequence[str]
    parts: Sequence[str]
    seed: int
    output: Path
    # Keep the parts that stand in the report already and are not measured again.
    add: bool = False


def measure(asked: Asked) -> list[str]:
    """Runs the parts and writes ``bench.json`` and ``bench.md``; returns a line for each part that failed."""
    failed: list[str] = []
    load = machine.load()
    with services() as running:
        done: dict[str, Any] = {
            "machine": machine.describe(),
            "versions": machine.versions(running),
            "build": machine.build(),
            "seed": asked.seed,
            "sections": [],
        }
        if asked.add:
            done["sections"] = kept(asked.output / "bench.json", done)
        for name in asked.parts:
            for kind in asked.kinds if PARTS[name] else asked.kinds[:1]:
                _say(f"== {name}, {kind}")
                of = {"part": name, "kind": kind, "began": _now(), "load_before": load, "rounds": asked.rounds}
                with tempfile.TemporaryDirectory(prefix="foodstream-bench-") as folder:
                    options = Options(Size(asked.rows, kind), asked.rounds, asked.seed, Path(folder))
                    try:
                        section: Section = importlib.import_module(f"compare.{name}").run(running, options, _say)
                    except (Failed, StackError, KafkaException) as error:
                        failed.append(f"{name}, {kind}: {error}")
                        _say(f"failed: {error}")
                        continue
                done["sections"] = merged(done["sections"], {**of, **report.section_data(section)})
                _write(asked.output, done)
    return failed


def kept(file: Path, now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sections of ``file``, none if there is no such file; raises ``Failed`` if it was made by or on another."""
    if not file.exists():
        return []
    before = json.loads(file.read_text(encoding="utf-8"))
    differing = [name for name in _SAME if before.get(name) != now[name]]
    if differing:
        raise Failed(f"{file} is of another {' and another '.join(differing)}: move it away, or measure all anew")
    sections: list[dict[str, Any]] = before["sections"]
    return sections


def merged(sections: Sequence[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """``sections`` with ``new`` in the place of the one of the same part and kind, in the order of all parts."""

    def place(section: Mapping[str, Any]) -> tuple[int, int]:
        return [*PARTS].index(section["part"]), [*KINDS].index(section["kind"])

    others = [section for section in sections if place(section) != place(new)]
    return sorted([*others, new], key=place)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(folder: Path, done: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(report.markdown(done), encoding="utf-8")
    _say(f"written: {folder / 'bench.md'}, {folder / 'bench.json'}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
