"""What the status server costs with one viewer: at full speed, and while there is nothing to do.

In pairs of which one has the server switched off, and the other has it on and somebody looking: two consumers or two
producers that carry the same rows at full speed, one after the other, since beside each other what one takes more would
slow both; or two whole pipelines that idle, at the same time.
"""

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from foodstream._stack import ports

from compare import product
from compare.contest import Contestant, Outcome, Sample, Spread, contest, cpu, of_many_ratios, of_median, ratios, wall
from compare.probes import viewer
from compare.probes.stream import Stream
from compare.process import Failed, Usage
from compare.publish import BATCH_LIMIT, Topics
from compare.sections import Column, Goal, Options, Say, Section, extra
from compare.services import Services

# At least: two runs of the same differ by more than the server costs, and only many pairs show it. Short ones: the
# machine's mood changes within minutes, and the two of a pair should find the same.
PAIRS = 160
# Of the rows asked for, in a run of the consumer, which is the faster: a run that is over within the second in which
# the viewer's next event comes would have hardly a viewer.
CONSUMED = 2
# As few as give their median an interval.
IDLE_PAIRS = 6
IDLE_SEC = 20.0
# What a start does is not idling.
_SETTLE_SEC = 5.0

SIDES = ("consumer", "producer")
OFF, ON = "off", "on, one viewer"
_EVENTS, _SERVER = "events", "server_share"
_COLUMNS = (
    Column("wall s", wall, ends=True),
    Column("CPU s", cpu, ends=True),
    Column("% of a core", lambda outcome: _share(outcome), ",.2f", ends=True),
    Column("peak MB", lambda outcome: outcome.usage.peak_bytes / 1e6, ",.0f"),
    Column("events seen", extra(_EVENTS), ",.0f"),
    Column("server's thread, % of CPU", extra(_SERVER, 100), ",.2f", ends=True),
)


def run(services: Services, options: Options, say: Say) -> Section:
    """Pairs at full speed, then idle ones."""
    rows = options.size.rows
    pairs, idle_pairs = max(options.rounds, PAIRS), max(options.rounds, IDLE_PAIRS)
    say(f"filling the topic with {CONSUMED * rows:,} orders, and the table with {rows:,}")
    services.fill_table(replace(options.size, rows=CONSUMED * rows))
    services.fill_topic("status", options.folder / "fill")
    services.fill_table(options.size)
    with closing(Topics(services)) as topics:
        consumers = _pair("consumer", lambda folder, port: _consume(services, CONSUMED * rows, folder, port))
        producers = _pair("producer", lambda folder, port: _produce(services, topics, rows, folder, port))
        samples = [
            sample
            for pair in (consumers, producers)
            for sample in contest(pair, pairs, options.seed, options.folder / "busy", say)
        ]
    services.delete_topic("status")
    idle = [Contestant(_of("idle pipeline", server), "", _never) for server in (OFF, ON)]
    for number in range(1, idle_pairs + 1):
        samples += _idle(services, number, options.folder / f"idle-{number}", say)
    return Section(
        title=f"The status server, {rows:,} {options.size.kind} orders and idle",
        contestants=[*consumers, *producers, *idle],
        samples=samples,
        goals=_goals(samples),
        columns=_COLUMNS,
        notes=(
            f"{pairs} pairs at full speed, the two of a pair one after the other, in random order, the consumer with "
            f"{CONSUMED} times the rows; {idle_pairs} idle pairs, the two at the same time. The viewer asks for what "
            "the page asks for: the whole state once, then the events, one a second and one for each batch and line. "
            "What it takes itself is not counted, but it runs on the same cores.",
            "What the broker does behind a run, such as deleting its topic's files, may fall into the next. Processor "
            "time is the process's own; waiting, and what broker and database take, is not in it. That without a "
            f"server over that with one: {_cpu_ratios(samples)}.",
            "The server's thread: the kernel's account of it and of its whole process, when the viewer last looked. "
            "Two runs of the same differ by more than what is asked for: of the ratios of the pairs the middle is "
            "Hodges and Lehmann's, and the ends are those of Wilcoxon's interval of 95 % certainty.",
            f"Idle: a producer and a consumer of one configuration, the shipped rhythm, an empty table, {IDLE_SEC:.0f} "
            "s.",
        ),
    )


def _pair(side: str, run: Callable[[Path, int | None], Outcome]) -> list[Contestant]:
    return [
        Contestant(_of(side, OFF), "", lambda folder: run(folder, None)),
        Contestant(_of(side, ON), "", lambda folder: run(folder, ports.spare(set()))),
    ]


def _of(side: str, server: str) -> str:
    return f"{side}, server {server}"


def _never(_folder: Path) -> Outcome:
    raise AssertionError("idle pairs run beside each other")


def _consume(services: Services, rows: int, folder: Path, port: int | None) -> Outcome:
    changes = {"kafka": {"consumer_group": f"status-{secrets.token_hex(8)}"}}
    file = product.configuration(folder, services.postgres, services.brokers, "status", changes)
    return _command(folder, "consumer", file, rows, port)


def _produce(services: Services, topics: Topics, rows: int, folder: Path, port: int | None) -> Outcome:
    with topics.fresh() as topic:
        changes = {"cdc": {"pipeline_id": topic, "batch_limit": BATCH_LIMIT}}
        file = product.configuration(folder, services.postgres, services.brokers, topic, changes)
        return _command(folder, "producer", file, rows, port)


def _command(folder: Path, command: str, file: Path, rows: int, port: int | None) -> Outcome:
    words = (command, "--once", "-q", "--config", file, "--status-port")
    if port is None:
        return Outcome(product.foodstream(folder, *words, "off"), rows)
    with _viewer(port) as seen:
        usage = product.foodstream(folder, *words, str(port))
    return Outcome(usage, rows, extra=_counted(seen))


def _idle(services: Services, number: int, folder: Path, say: Say) -> list[Sample]:
    services.sql("TRUNCATE orders")
    with ExitStack() as ends:
        port = ports.spare(set())
        without = _pipeline(services, ends, folder / "off", ("off", "off"))
        with_server = _pipeline(services, ends, folder / "on", (str(port), "0"))
        seen = ends.enter_context(_viewer(port))
        time.sleep(_SETTLE_SEC)
        begun = time.monotonic()
        before = [_cpu_sec(streams) for streams in (without, with_server)]
        time.sleep(IDLE_SEC)
        took = [_cpu_sec(streams) - sec for streams, sec in zip((without, with_server), before, strict=True)]
        passed = time.monotonic() - begun
        peaks = [sum(stream.peak_bytes() for stream in streams) for streams in (without, with_server)]
    samples = []
    for server, sec, peak, more in zip((OFF, ON), took, peaks, ({}, _counted(seen)), strict=True):
        outcome = Outcome(Usage(passed, sec, peak), 0, extra=more)
        say(f"pair {number}: {_of('idle pipeline', server)} {_share(outcome):.2f} % of a core")
        samples.append(Sample(_of("idle pipeline", server), number, outcome))
    return samples


def _pipeline(services: Services, ends: ExitStack, folder: Path, status_ports: tuple[str, str]) -> list[Stream]:
    """A consumer and a producer of one configuration, which find each other through it."""
    folder.mkdir(parents=True)
    topic = f"idle_{secrets.token_hex(8)}"
    services.create_topic(topic)
    file = product.configuration(folder, services.postgres, services.brokers, topic, {"cdc": {"pipeline_id": topic}})
    sides = zip(SIDES, status_ports, strict=True)
    return [ends.enter_context(Stream(side, file, "--status-port", port)) for side, port in sides]


def _cpu_sec(streams: Sequence[Stream]) -> float:
    return sum(stream.cpu_sec() for stream in streams)


@contextlib.contextmanager
def _viewer(port: int) -> Iterator[viewer.Seen]:
    """Looks as long as the block, and is ready at its begin; what came is known behind it."""
    seen = viewer.Seen()
    process = subprocess.Popen(
        [sys.executable, viewer.__file__, f"http://{ports.LOOPBACK}:{port}/"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != viewer.LOOKING:
            raise Failed("the viewer did not begin to look")
        yield seen
    finally:
        process.terminate()
        told, _ = process.communicate()
    vars(seen).update(json.loads(told))


def _counted(seen: viewer.Seen) -> dict[str, float]:
    if seen.events == 0:
        raise Failed("the viewer saw nothing: what was measured has no viewer")
    return {_EVENTS: seen.events, _SERVER: seen.server_share}


def _share(outcome: Outcome) -> float:
    return 100 * outcome.usage.cpu_sec / outcome.usage.wall_sec


def _goals(samples: Sequence[Sample]) -> list[Goal]:
    def kept(side: str) -> Goal:
        name = f"rows/s of the {side} with server and viewer over without"
        return Goal(name, 0.98, None, True, _without_over_with(samples, side, wall))

    def share(side: str) -> Goal:
        shares = [sample.outcome.extra[_SERVER] for sample in samples if sample.contestant == _of(side, ON)]
        name = f"the server's thread of all processor time of the {side}"
        return Goal(name, 2, None, False, of_median([100 * each for each in shares]), "%")

    idle = Goal("idle, with server and viewer less without", 1, None, False, _idle_cost(samples), "% of a core")
    return [*(share(side) for side in SIDES), *(kept(side) for side in SIDES), idle]


def _without_over_with(samples: Sequence[Sample], side: str, figure: Callable[[Outcome], float]) -> Spread | None:
    return ratios(samples, _of(side, OFF), _of(side, ON), figure, of_many_ratios)


def _cpu_ratios(samples: Sequence[Sample]) -> str:
    found = {side: _without_over_with(samples, side, cpu) for side in SIDES}
    texts = (f"{side} {each.median:.3f} [{each.least:.3f}–{each.most:.3f}]" for side, each in found.items() if each)
    return ", ".join(texts)


def _idle_cost(samples: Sequence[Sample]) -> Spread:
    shares = {server: _shares(samples, _of("idle pipeline", server)) for server in (OFF, ON)}
    return of_median([on - off for on, off in zip(shares[ON], shares[OFF], strict=True)])


def _shares(samples: Sequence[Sample], contestant: str) -> list[float]:
    return [_share(sample.outcome) for sample in samples if sample.contestant == contestant]
