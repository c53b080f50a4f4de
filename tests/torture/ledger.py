"""The account of a run: what was done to the pipeline, what it did with it, and what was found.

A run is good if nothing was found. Everything counted here is counted where it happens; nothing is derived from the
plan, since a step that found nobody to kill has killed nobody.
"""

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# What is shown of each kind of finding; the rest is counted.
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """Something that must not be: by which oracle, and what it saw."""

    oracle: str
    what: str


@dataclass
class Ledger:
    """Counts of a run; safe to write from several threads."""

    seed: int
    command: str
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    # Fault and seconds from its end until a row inserted then was in the lake.
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    # Which oracles have looked, and how much they have seen.
    checked: dict[str, int] = field(default_factory=dict)
    # What the plan wanted and this machine, or this build, cannot do.
    impossible: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    # Whether the oracles have looked: without them, nothing lost would mean nothing.
    judged: bool = False
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: float = field(default_factory=time.monotonic)

    @property
    def killed(self) -> int:
        """How many processes were killed, in whatever way."""
        return sum(self.kills.values())

    def fault(self, kind: str) -> None:
        with self._lock:
            self.faults[kind] += 1

    def kill(self, place: str) -> None:
        with self._lock:
            self.kills[place] += 1

    def recovered(self, fault: str, seconds: float) -> None:
        with self._lock:
            self.recoveries.append((fault, seconds))

    def cannot(self, fault: str, why: str) -> None:
        with self._lock:
            self.impossible[fault] = why

    def finds(self, oracle: str, what: str) -> None:
        with self._lock:
            self.findings.append(Finding(oracle, what))

    def counted(self, oracle: str) -> int:
        with self._lock:
            return sum(finding.oracle == oracle for finding in self.findings)

    def end(self) -> None:
        self.seconds = time.monotonic() - self._begun

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def as_json(self) -> dict[str, Any]:
        """One object: counts, seconds, findings."""
        return {
            "seed": self.seed,
            "replay": self.command,
            "seconds": round(self.seconds, 1),
            "rows": self.rows,
            "kills": {"total": self.killed, "by_place": dict(sorted(self.kills.items()))},
            "faults": dict(sorted(self.faults.items())),
            "recovery_sec": self.recovery(),
            "judged": self.judged,
            "checked": self.checked,
            "impossible": self.impossible,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def recovery(self) -> dict[str, float | int]:
        """How long recoveries took: count, median, 99th percentile (nearest rank) and longest, in seconds."""
        times = sorted(seconds for _, seconds in self.recoveries)
        if not times:
            return {"count": 0}
        ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        found = {name: round(times[max(0, -int(-rank * len(times) // 1) - 1)], 2) for name, rank in ranks.items()}
        return {"count": len(times), **found}

    def text(self) -> str:
        """The ledger as a person reads it."""
        recovery = self.recovery()
        times = ", ".join(f"{name} {value} s" for name, value in recovery.items() if name != "count")
        lines = [
            f"torture: seed {self.seed}, {self.seconds:.0f} s",
            *_table("rows", self.rows),
            *_table(f"kills: {self.killed}", dict(sorted(self.kills.items()))),
            *_table("faults", dict(sorted(self.faults.items()))),
            f"recoveries: {recovery['count']}" + (f" ({times})" if times else ""),
            *(f"  {seconds:6.2f} s  {fault}" for fault, seconds in sorted(self.recoveries, key=_seconds)[-SHOWN:]),
            *_table("checked", self.checked),
            *(f"not possible here: {fault}: {why}" for fault, why in self.impossible.items()),
            *self._verdict(),
        ]
        return "\n".join(lines)

    def _verdict(self) -> list[str]:
        count = Counter(finding.oracle for finding in self.findings)
        words = ("lost", "repeated", "altered", "invalid accepted", "valid rejected")
        counts = ", ".join(f"{word} {count.pop(word, 0)}" for word in words)
        lines = [counts if self.judged else "given up before the oracles had looked"]
        if not self.findings:
            return [*lines, "nothing found"]
        lines += [f"{oracle}: {number} found" for oracle, number in count.items()]
        shown: Counter[str] = Counter()
        for finding in self.findings:
            shown[finding.oracle] += 1
            if shown[finding.oracle] <= SHOWN:
                lines.append(f"FOUND {finding.oracle}: {finding.what}")
        return [*lines, f"replay: {self.command}"]


def _table(title: str, counts: dict[str, int]) -> list[str]:
    return [title, *(f"  {number:>9,}  {name}" for name, number in counts.items())]


def _seconds(recovery: tuple[str, float]) -> float:
    return recovery[1]
