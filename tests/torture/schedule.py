"""What happens when: a plan drawn from a seed and nothing else, so that a seed that failed can be played again.

A plan is a row of steps without end; whoever plays it takes as many as it wants. It goes round by round: each round
holds every fault of the deck as often as its weight says, and every failpoint once, in a random order. So the first
round alone has seen everything, whatever the seed.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# A step strikes while the recovery from the one before is under way, more often than not.
LONGEST_PAUSE_SEC = 1.0
SETTLED = 0.3
# From the first pass of a failpoint to well into the work.
MOST_PASSES = 12
MOST_CONSUMERS = 4


class Fault(StrEnum):
    """The kinds; the value is its name in the ledger."""

    KILL_PRODUCER = "SIGKILL of the producer"
    KILL_CONSUMER = "SIGKILL of a consumer"
    KILL_BOTH = "SIGKILL of producer and a consumer at once"
    KILL_BROKER = "SIGKILL of the broker"
    KILL_POSTMASTER = "SIGKILL of the postmaster"
    KILL_AT_FAILPOINT = "kill at a failpoint"
    ERROR_AT_FAILPOINT = "error at a failpoint"
    STOP_PRODUCER = "SIGTERM and restart of the producer"
    STOP_BROKER = "SIGTERM and restart of the broker"
    RESTART_POSTGRES_FAST = "fast restart of PostgreSQL"
    RESTART_POSTGRES_IMMEDIATE = "immediate restart of PostgreSQL"
    PAUSE_PRODUCER = "SIGSTOP and SIGCONT of the producer"
    PAUSE_CONSUMER = "SIGSTOP of a consumer beyond its session, then SIGCONT"
    PAUSE_BROKER = "SIGSTOP and SIGCONT of the broker"
    PAUSE_POSTMASTER = "SIGSTOP and SIGCONT of the postmaster"
    ZOMBIE_PRODUCER = "a second producer while the first is stopped, then SIGCONT"
    TERMINATE_SESSIONS = "pg_terminate_backend of the producer's sessions"
    JOIN = "a consumer joins"
    LEAVE = "a consumer leaves"
    DELAY_POSTGRES = "replies of PostgreSQL delayed"
    LOSE_POSTGRES = "replies of PostgreSQL lost"
    CUT_POSTGRES = "connections to PostgreSQL cut"
    DELAY_BROKER = "replies of the broker delayed"
    LOSE_BROKER = "replies of the broker lost"
    CUT_BROKER = "connections to the broker cut"
    LOSE_END_OF_TRANSACTION = "the reply to the end of a transaction lost"
    FULL_DISK = "the lake's disk full"
    ROLL_BROKERS = "all brokers restarted, one by one"


# How often a kind is in a round. Kills come often, since they are cheap and what the promise speaks of first.
DECK: dict[Fault, int] = {
    Fault.KILL_PRODUCER: 6,
    Fault.KILL_CONSUMER: 6,
    Fault.KILL_BOTH: 2,
    Fault.KILL_BROKER: 1,
    Fault.KILL_POSTMASTER: 2,
    Fault.ERROR_AT_FAILPOINT: 2,
    Fault.STOP_PRODUCER: 1,
    Fault.STOP_BROKER: 1,
    Fault.RESTART_POSTGRES_FAST: 1,
    Fault.RESTART_POSTGRES_IMMEDIATE: 1,
    Fault.PAUSE_PRODUCER: 1,
    Fault.PAUSE_CONSUMER: 2,
    Fault.PAUSE_BROKER: 1,
    Fault.PAUSE_POSTMASTER: 1,
    Fault.ZOMBIE_PRODUCER: 1,
    Fault.TERMINATE_SESSIONS: 2,
    Fault.JOIN: 2,
    Fault.LEAVE: 2,
    Fault.DELAY_POSTGRES: 1,
    Fault.LOSE_POSTGRES: 1,
    Fault.CUT_POSTGRES: 1,
    Fault.DELAY_BROKER: 1,
    Fault.LOSE_BROKER: 1,
    Fault.CUT_BROKER: 1,
    Fault.LOSE_END_OF_TRANSACTION: 2,
    Fault.FULL_DISK: 1,
}
# For a cluster, of which no single broker is missed for long.
CLUSTER_DECK: dict[Fault, int] = {**DECK, Fault.ROLL_BROKERS: 1, Fault.KILL_BROKER: 3, Fault.PAUSE_BROKER: 2}
# For the gate of every change: each kind of place that can be killed, and of the rest what ends within a second or two.
SHORT_DECK: dict[Fault, int] = {
    Fault.KILL_PRODUCER: 5,
    Fault.KILL_CONSUMER: 3,
    Fault.KILL_BOTH: 2,
    Fault.KILL_BROKER: 1,
    Fault.KILL_POSTMASTER: 2,
    Fault.PAUSE_CONSUMER: 1,
    Fault.TERMINATE_SESSIONS: 1,
    Fault.JOIN: 1,
    Fault.LEAVE: 1,
    Fault.DELAY_POSTGRES: 1,
    Fault.LOSE_POSTGRES: 1,
    Fault.LOSE_BROKER: 1,
    Fault.LOSE_END_OF_TRANSACTION: 1,
    Fault.FULL_DISK: 1,
}
# How long each holds, in seconds, from and to; what is not named is over at once.
HOLD_SEC: dict[Fault, tuple[float, float]] = {
    Fault.PAUSE_PRODUCER: (0.2, 3.0),
    Fault.PAUSE_CONSUMER: (2.5, 4.0),
    Fault.PAUSE_BROKER: (0.5, 4.0),
    Fault.PAUSE_POSTMASTER: (0.5, 2.0),
    Fault.DELAY_POSTGRES: (0.5, 2.0),
    Fault.LOSE_POSTGRES: (0.2, 1.0),
    Fault.DELAY_BROKER: (0.5, 2.0),
    Fault.LOSE_BROKER: (0.2, 1.0),
    Fault.KILL_BROKER: (0.0, 1.0),
    Fault.KILL_POSTMASTER: (0.0, 1.0),
    Fault.FULL_DISK: (1.0, 2.0),
}


@dataclass(frozen=True)
class Step:
    """One fault of the plan.

    ``pause_sec``   how long after the step before
    ``hold_sec``    how long it lasts
    ``chosen``      which of the consumers: this number, modulo how many there are
    ``point``       for a failpoint, its name
    ``passes``      for a failpoint, how many passes are let through before
    ``settled``     the step waits for recovery from it, so that the next one finds a pipeline at work
    """

    fault: Fault
    pause_sec: float
    hold_sec: float
    chosen: int
    settled: bool
    point: str = ""
    passes: int = 0


@dataclass(frozen=True)
class Points:
    """The failpoints the program has; those in ``at_start`` are passed once, by each process that starts."""

    names: tuple[str, ...] = ()
    at_start: frozenset[str] = frozenset()


def failpoints(source: Path) -> Points:
    """Those of their Rust module, which alone holds their names, in its order."""
    text = source.read_text(encoding="utf-8")
    known = dict(re.findall(r'^pub const (\w+): &str = "([a-z_]+::[a-z_]+)";', text, re.M))
    assert known, f"no failpoints in {source}"
    lists = re.findall(r"^pub const \w+_START: \[&str; \d+\] = \[([^]]*)\];", text, re.M)
    at_start = {known[name] for names in lists for name in re.findall(r"\w+", names)}
    return Points(tuple(known.values()), frozenset(at_start))


# How many processes each kind kills.
KILLS: dict[Fault, int] = {
    Fault.KILL_PRODUCER: 1,
    Fault.KILL_CONSUMER: 1,
    Fault.KILL_BOTH: 2,
    Fault.KILL_BROKER: 1,
    Fault.KILL_POSTMASTER: 1,
}


def kills_of_a_round(deck: dict[Fault, int], points: Points) -> int:
    """So many kills, and everything of the deck has been there, whatever the seed."""
    return len(points.names) + sum(times * KILLS.get(fault, 0) for fault, times in deck.items())


def plan(seed: int, deck: dict[Fault, int], points: Points) -> Iterator[Step]:
    """The steps of this seed, without end."""
    drawn = random.Random(seed)
    while True:
        round_ = [(fault, "") for fault, times in deck.items() for _ in range(times)]
        round_ += [(Fault.KILL_AT_FAILPOINT, point) for point in points.names]
        drawn.shuffle(round_)
        for fault, point in round_:
            if fault is Fault.ERROR_AT_FAILPOINT:
                if not points.names:
                    continue
                point = drawn.choice(points.names)
            shortest, longest = HOLD_SEC.get(fault, (0.0, 0.0))
            yield Step(
                fault,
                pause_sec=round(drawn.uniform(0.0, LONGEST_PAUSE_SEC), 3),
                hold_sec=round(drawn.uniform(shortest, longest), 3),
                chosen=drawn.randrange(MOST_CONSUMERS),
                settled=drawn.random() < SETTLED,
                point=point,
                passes=drawn.randrange(MOST_PASSES) if point and point not in points.at_start else 0,
            )
