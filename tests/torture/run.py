"""A run from beginning to end: services, load, faults, quiet, oracles.

Nothing raises for what it finds: findings are the ledger's. What raises is the harness that cannot go on, such as a
server that does not start.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from torture import oracles
from torture.crew import CONSUMER, PRODUCER, BrokenError
from torture.faults import Faults
from torture.ledger import Ledger
from torture.limit import OutOfTimeError, limited
from torture.load import Load
from torture.rig import Rig
from torture.schedule import CLUSTER_DECK, DECK, SHORT_DECK, Fault, Points, Step, failpoints, plan
from torture.watch import Watch

# In this order: the last one takes from the lake for good what it would have to have.
ORACLES = (
    oracles.first_hop,
    oracles.both_hops,
    oracles.rejects,
    oracles.log,
    oracles.own_verdict,
    oracles.loud,
)
SOURCE = Path(__file__).resolve().parents[2] / "src" / "failpoints.rs"
# Passed where a lake is made, and hardly ever after that.
FOUNDING_POINT = "lake::side_file_written"
# After the faults the pipeline is to be at work again within this time, without anybody's help.
ALIVE_SEC = 60.0
# For the rest of a backlog, so long as it becomes smaller.
DRAIN_STALL_SEC = 60.0
DRAIN_STEP_ROWS = 10_000
FIRST_CONSUMERS = 2
# A bound on the whole, several times what a slow machine takes: a kill with what comes between two took six seconds on
# two cores, and the rest, start, drain and oracles, four minutes of two million rows.
LIMIT_OF_A_KILL_SEC = 30.0
LIMIT_OF_THE_REST_SEC = 1_800.0


@dataclass(frozen=True)
class Options:
    """What is wanted: so many kills, or so many seconds; and rows at least."""

    seed: int
    kills: int = 200
    duration_sec: float | None = None
    given_limit_sec: float | None = None
    rows: int = 2_000_000
    rows_per_sec: float = 2_500.0
    short: bool = False
    brokers: int = 1
    verbose: bool = False

    @property
    def deck(self) -> dict[Fault, int]:
        """What is in a round."""
        if self.short:
            return SHORT_DECK
        return DECK if self.brokers == 1 else CLUSTER_DECK

    @property
    def limit_sec(self) -> float:
        """When the run ends in any case, with a finding."""
        if self.given_limit_sec is not None:
            return self.given_limit_sec
        faults = self.kills * LIMIT_OF_A_KILL_SEC if self.duration_sec is None else self.duration_sec
        return faults + LIMIT_OF_THE_REST_SEC

    @property
    def command(self) -> str:
        """What plays the same plan again."""
        words = [f"SEED={self.seed}", f"KILLS={self.kills}", f"ROWS={self.rows}"]
        if self.duration_sec is not None:
            words.append(f"DURATION={self.duration_sec:g}")
        more = ["--short"] * self.short + [f"--brokers {self.brokers}"] * (self.brokers > 1)
        more += [f"--rate {self.rows_per_sec}"] * (self.rows_per_sec != Options.rows_per_sec)
        if more:
            words.append(f'TORTURE="{" ".join(more)}"')
        return f"make torture {' '.join(words)}"


class Run:
    """One run in one folder."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.ledger = Ledger(options.seed, options.command)
        self.rig = Rig(folder, self.ledger, options.brokers)
        self.faults = Faults(self.rig, self.rig.crew.tend)
        self.watch = Watch(self.rig.lake, self.rig.quarantine, self.ledger)
        self.begun = time.monotonic()
        self.doing = "the start"

    def __call__(self) -> Ledger:
        with contextlib.ExitStack() as ends:
            ends.callback(self.ledger.end)
            ends.callback(self.rig.close)
            # Called first: what goes with the rig is nothing that the lake has lost.
            ends.callback(self.watch.abandon)
            if self.options.deck.get(Fault.FULL_DISK):
                self.rig.disk.mount()
            try:
                with limited(self.options.limit_sec):
                    self._play()
            except BrokenError as broken:
                self.ledger.finds("alive", f"given up: {broken}")
            except OutOfTimeError as late:
                self.ledger.finds("alive", f"given up at {self.doing}: {late}")
        return self.ledger

    def _play(self) -> None:
        self.rig.start()
        with contextlib.closing(self._load()) as load:
            self._torture(load)
            self._drain(load)
        self._judge()

    def _load(self) -> Load:
        options = self.options
        rig = self.rig
        return Load(options.seed, rig.connect, rig.stack.brokers, rig.topic, options.rows, options.rows_per_sec)

    def _torture(self, load: Load) -> None:
        points = self._failpoints()
        self.watch.start()
        self.rig.crew.start(PRODUCER)
        if FOUNDING_POINT in points.names:
            self.faults.found(FOUNDING_POINT)
            points = replace(points, names=tuple(point for point in points.names if point != FOUNDING_POINT))
        for _ in range(FIRST_CONSUMERS):
            self.rig.crew.start(CONSUMER)
        load.start()
        self._recover(load, "the start")
        load.poison()
        for step in plan(self.options.seed, self.options.deck, points):
            if self._is_enough():
                break
            self.faults.pause(step.pause_sec)
            self._strike(step, load)

    def _strike(self, step: Step, load: Load) -> None:
        self._say(f"{step.fault.value} {step.point}")
        self.faults.strike(step)
        if step.settled:
            self._recover(load, f"{step.fault.value} {step.point}".strip())

    def _is_enough(self) -> bool:
        if self.options.duration_sec is not None:
            return time.monotonic() - self.begun > self.options.duration_sec
        return self.ledger.killed >= self.options.kills

    def _recover(self, load: Load, what: str) -> None:
        begun = time.monotonic()
        number = load.canaries.send()
        if self.faults.wait(lambda: number in self.watch.seen, ALIVE_SEC):
            self.ledger.recovered(what, self.watch.seen[number] - begun)
        else:
            self.ledger.finds("alive", f"no row reached the lake in {ALIVE_SEC:.0f} s after {what}")

    def _failpoints(self) -> Points:
        told = self.rig.crew.run(["version", "--verbose"], ALIVE_SEC).stdout
        if "failpoints" in told:
            return failpoints(SOURCE)
        self.ledger.cannot(Fault.KILL_AT_FAILPOINT.value, "this build has none; `make build` makes one that has")
        return Points()

    def _drain(self, load: Load) -> None:
        """Faults have ended, now the load, and then everything is to arrive by itself (O9)."""
        self._say("drain")
        self._recover(load, "all faults")
        load.stop()
        load.top_up()
        ((wanted,),) = self.rig.sql("SELECT count(*) FROM orders")
        self._until_still(lambda: sum(self.watch.rows.values()), wanted)
        for member in list(self.rig.crew.members):
            self.rig.crew.ask(member)
        for side in (PRODUCER, CONSUMER):
            done = self.rig.run(side, "--once")
            if done.returncode != 0:
                self.ledger.finds("alive", f"{side} --once ended with {done.returncode}: {done.stderr[-1_000:]}")
        self.watch.stop()
        self.ledger.rows.update(
            {
                "in the table": wanted,
                "in the lake": self.watch.rows["lake"],
                "in quarantine": self.watch.rows["quarantine"],
            }
        )

    def _until_still(self, count: Callable[[], int], wanted: int) -> None:
        """Waits until so many have arrived; gives up when nothing came for long."""
        before = -1
        while (now := count()) < wanted:
            if now == before:
                self.ledger.finds("alive", f"{now} of {wanted} rows have arrived, and no more in {DRAIN_STALL_SEC} s")
                return
            before = now
            self.faults.wait(partial(self._has_come_on, count, wanted, now), DRAIN_STALL_SEC)

    @staticmethod
    def _has_come_on(count: Callable[[], int], wanted: int, before: int) -> bool:
        return count() >= min(wanted, before + DRAIN_STEP_ROWS)

    def _judge(self) -> None:
        self._say("oracles")
        for look in ORACLES:
            self.doing = look.__name__
            begun = time.monotonic()
            look(self.rig.pipeline, self.ledger)
            self._say(f"{look.__name__}: {time.monotonic() - begun:.1f} s")
        self.ledger.judged = True

    def _say(self, what: str) -> None:
        self.doing = what
        if self.options.verbose:
            passed = time.monotonic() - self.begun
            print(f"{passed:7.2f} s  kills {self.ledger.killed:3}  {what}", file=sys.stderr, flush=True)


def run(options: Options, folder: Path) -> Ledger:
    """Runs in a folder, which is left to the caller with the logs of all members; returns the ledger."""
    return Run(options, folder)()


def show_plan(options: Options, steps: int) -> list[str]:
    """The first steps of a plan as text, without running it."""
    planned = plan(options.seed, options.deck, failpoints(SOURCE))
    return [f"{step.pause_sec:5.2f} s  {step.fault.value} {step.point}".rstrip() for step in islice(planned, steps)]
