"""``python -m compare``: the benchmark as a command.

The report is written after each part, so that an interrupted run keeps what was measured. A part that fails is named,
the others go on, and the exit code is 1; it is 2 for a usage error, 130 after Ctrl-C.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.platform != "linux":
    sys.exit("bench: it accounts for processes as only Linux can; measure there")

try:
    from foodstream._stack.errors import StackError

    from compare.data import KINDS
    from compare.measure import PARTS, Asked, measure
    from compare.process import Failed
except ImportError as missing:
    sys.exit(f"bench: {missing}; `make bench` makes an environment with all it needs")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    asked = _asked(arguments)
    # As Ctrl-C does: services and runs must be ended first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = measure(asked)
    except KeyboardInterrupt:
        print("stopped; the report holds the parts that were finished", file=sys.stderr)
        return 130
    except (StackError, Failed) as error:
        failed = [str(error)]
    for each in failed:
        print(f"bench: {each}", file=sys.stderr)
    return 1 if failed else 0


def _asked(arguments: Sequence[str] | None) -> Asked:
    parser = argparse.ArgumentParser(prog="python -m compare", description="foodstream beside what people use today.")
    parser.add_argument("--rows", type=_positive, default=2_000_000, help="orders in table and topic (2,000,000)")
    parser.add_argument("--rounds", type=_positive, default=5, help="counted rounds, after a warm-up (5)")
    parser.add_argument(
        "--kind", choices=[*KINDS, "both"], default="both", help="few values, or all distinct and long (both)"
    )
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar=",".join(PARTS), help="these parts (all)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the runs (1)")
    parser.add_argument(
        "--output", type=Path, default=Path("benches/results"), metavar="DIR", help="of bench.json and bench.md"
    )
    parser.add_argument(
        "--add", action="store_true", help="keep what the report there holds of other parts, of the same build"
    )
    given = parser.parse_args(arguments)
    kinds = list(KINDS) if given.kind == "both" else [given.kind]
    return Asked(given.rows, given.rounds, kinds, given.only, given.seed, given.output, given.add)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return int(text)


def _parts(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
