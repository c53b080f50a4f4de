"""What foodstream costs beside time: memory as the rows grow tenfold, and the way through Python.

Memory: the most a producer and a consumer hold over a table and a topic of some rows, and of ten times as many.
Python: one topic consumed through the API and by a Rust program over the same core (``examples/pipeline.rs``), both at
the same time, each timed from inside, from the configuration to the closed consumer, so that no interpreter's start is
in it.
"""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from compare import packages, product
from compare.contest import Contestant, Outcome, Sample, contest, cpu, ratios, wall
from compare.data import Size
from compare.probes import consume_api
from compare.process import Failed, tail, without_settings
from compare.process import run as run_command
from compare.sections import Column, Goal, Options, Say, Section, extra
from compare.services import Services

# Of the rows asked for: of two millions, a table of one million and one of ten.
SMALLER = 0.5
LARGER = 5.0
# At least: peaks of one size differ by a tenth, which is as much as they may grow by.
MEMORY_ROUNDS = 20
# At least. One after the other, two runs of one program differ by a tenth and more; beside each other both have the
# same machine.
PYTHON_ROUNDS = 20
# As where the producer is measured for its speed.
BATCH_LIMIT = 10_000

RUST = "Rust main"
PYTHON = "Python API"

_CALL = "call_sec"
_REPOSITORY = Path(__file__).parents[2]
_EXAMPLE = "pipeline"
_CONSUMER = (product.COMMAND, "consumer", "--once", "-q", "--report", "json", "--config")

COLUMNS = (
    Column("rows", lambda outcome: outcome.rows, ",.0f"),
    Column("peak MB", lambda outcome: outcome.usage.peak_bytes / 1e6, ",.1f", ends=True),
    Column("call s", extra(_CALL), ",.3f", ends=True),
    Column("wall s", wall),
    Column("CPU s", cpu),
)


def run(services: Services, options: Options, say: Say) -> Section:
    """Measures memory at both sizes, then both programs over the larger topic."""
    smaller, larger = (replace(options.size, rows=round(options.size.rows * share)) for share in (SMALLER, LARGER))
    contestants: list[Contestant] = []
    samples: list[Sample] = []
    memory_rounds = max(options.rounds, MEMORY_ROUNDS)
    program, missing = _rust_main(say)
    for size in (smaller, larger):
        say(f"filling table and topic with {size.rows:,} orders")
        services.fill_table(size)
        services.fill_topic(_topic(size), options.folder / f"fill-{size.rows}")
        found = _memory_runs(services, size)
        folder = options.folder / f"memory-{size.rows}"
        samples += contest(found, memory_rounds, options.seed, folder, say, warm_up=False)
        contestants += found
    found = _python_runs(services, larger, program, missing)
    python_rounds = max(options.rounds, PYTHON_ROUNDS)
    samples += contest(found, python_rounds, options.seed, options.folder / "python", say, at_once=True)
    contestants += found
    for size in (smaller, larger):
        services.delete_topic(_topic(size))
    return Section(
        title="Memory as the rows grow tenfold, and the way through Python",
        contestants=contestants,
        samples=samples,
        goals=_goals(samples, smaller, larger, missing or ""),
        columns=COLUMNS,
        notes=(
            f"Peak memory is the kernel's own account of the process, of {memory_rounds} runs at each size without a "
            "warm-up; settings that are not named are the defaults.",
            "`Consumer(file, available_now=True).run()` and examples/pipeline.rs read the larger topic beside each "
            f"other, {python_rounds} times; the call is timed inside both, from the configuration to the closed "
            "consumer, without the start of the interpreter. The one that is done first leaves the machine to the "
            "other, so that some half of a difference shows.",
        ),
    )


def _topic(size: Size) -> str:
    return f"footprint_{size.rows}"


def _of(side: str, size: Size) -> str:
    return f"{side}, {size.rows:,} rows"


def _memory_runs(services: Services, size: Size) -> list[Contestant]:
    version = packages.version("foodstream")
    return [
        Contestant(_of("producer", size), f"{version}; pages of {BATCH_LIMIT:,}", partial(_produce, services, size)),
        Contestant(_of("consumer", size), version, partial(_consume, services, size, _CONSUMER)),
    ]


def _python_runs(services: Services, size: Size, program: Path, missing: str | None) -> list[Contestant]:
    script = (sys.executable, consume_api.__file__)
    return [
        Contestant(RUST, "examples/pipeline.rs, release", partial(_consume, services, size, (program,)), missing),
        Contestant(PYTHON, f"Python {sys.version.split()[0]}", partial(_consume, services, size, script)),
    ]


def _produce(services: Services, size: Size, folder: Path) -> Outcome:
    topic = f"footprint_{secrets.token_hex(8)}"
    changes = {"cdc": {"batch_limit": BATCH_LIMIT, "pipeline_id": topic}}
    file = product.configuration(folder, services.postgres, services.brokers, topic, changes)
    usage = product.foodstream(folder, "producer", "--once", "-q", "--config", file)
    services.delete_topic(topic)
    return Outcome(usage, size.rows)


def _consume(services: Services, size: Size, program: Sequence[str | Path], folder: Path) -> Outcome:
    """Runs a program that takes a configuration, and tells rows and seconds as JSON in its last line."""
    changes = {"kafka": {"consumer_group": f"footprint-{secrets.token_hex(8)}"}}
    file = product.configuration(folder, services.postgres, services.brokers, _topic(size), changes)
    log = folder / "consume.log"
    usage = run_command([*program, file], log, environment=without_settings(), folder=folder)
    told = json.loads(tail(log, 1))
    if told["rows"] != size.rows:
        raise Failed(f"{program[0]} consumed {told['rows']:,} of {size.rows:,} messages")
    return Outcome(usage, size.rows, extra={_CALL: told["seconds"]})


def _rust_main(say: Say) -> tuple[Path, str | None]:
    """The compiled example, or why there is none."""
    if shutil.which("cargo") is None:
        return Path(), "cargo, which builds it, is not installed"
    say(f"building examples/{_EXAMPLE}.rs")
    words = ["cargo", "build", "--release", "--locked", "--example", _EXAMPLE]
    built = subprocess.run(
        [*words, "--message-format", "json"], cwd=_REPOSITORY, capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise Failed(f"{' '.join(words)} ended with {built.returncode}:\n{built.stderr.strip()}")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact"]
    [program] = [message["executable"] for message in artifacts if message["target"]["name"] == _EXAMPLE]
    return Path(program), None


def _goals(samples: Sequence[Sample], smaller: Size, larger: Size, missing: str) -> list[Goal]:
    def peak(outcome: Outcome) -> float:
        return outcome.usage.peak_bytes

    def rate(outcome: Outcome) -> float:
        return outcome.rows / outcome.extra[_CALL]

    def grown(side: str) -> Goal:
        name = f"peak memory of the {side}, {larger.rows:,} rows over {smaller.rows:,}"
        return Goal(name, 1.1, 1.02, False, ratios(samples, _of(side, larger), _of(side, smaller), peak))

    python = "rows/s through the Python API over a Rust main"
    return [
        grown("consumer"),
        grown("producer"),
        Goal(python, 0.97, 0.995, True, ratios(samples, PYTHON, RUST, rate), reason=missing),
    ]
