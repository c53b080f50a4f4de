"""The command ``python -m torture``: runs the fault harness and prints its ledger.

Exit codes: 0 nothing found, 1 something found, 2 usage. Everything that ran lies in a temporary folder, which is
deleted if nothing was found and named if something was.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import told_to_end

from torture.run import Options, run, show_plan

LARGEST_SEED = 1 << 32


def main(argv: Sequence[str]) -> int:
    """Runs with these arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--seed", type=int, help="plays that plan again; default: a random one")
    parser.add_argument("--kills", type=int, default=Options.kills, help="ends after so many (default %(default)s)")
    parser.add_argument("--duration", type=float, metavar="SEC", help="ends after so long, whatever the kills")
    parser.add_argument("--limit", type=float, metavar="SEC", help="gives up after so long, with the ledger so far")
    parser.add_argument("--rows", type=int, default=Options.rows, help="rows at least (default %(default)s)")
    parser.add_argument("--rate", type=float, default=Options.rows_per_sec, help="rows a second (default %(default)s)")
    parser.add_argument("--short", action="store_true", help="the faults of the test, which end soon")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="one, or a cluster (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the ledger there as well")
    parser.add_argument("--plan", type=int, metavar="STEPS", help="prints so many steps of the plan and ends")
    parser.add_argument("--keep", action="store_true", help="leaves the folder with all logs")
    parser.add_argument("--quiet", action="store_true", help="says nothing but the ledger")
    given = parser.parse_args(argv)
    options = Options(
        seed=random.randrange(LARGEST_SEED) if given.seed is None else given.seed,
        kills=given.kills,
        duration_sec=given.duration,
        given_limit_sec=given.limit,
        rows=given.rows,
        rows_per_sec=given.rate,
        short=given.short,
        brokers=given.brokers,
        verbose=not given.quiet,
    )
    if given.plan is not None:
        print("\n".join(show_plan(options, given.plan)))
        return 0
    told_to_end.exit_when_told()
    print(f"seed {options.seed}; to play it again: {options.command}", file=sys.stderr, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="foodstream-torture-"))
    try:
        ledger = run(options, folder)
    except (SystemExit, KeyboardInterrupt):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        print(f"the harness itself has failed; logs: {folder}; to play it again: {options.command}", file=sys.stderr)
        raise
    print(ledger.text())
    if given.json is not None:
        ledger.save(given.json)
    if ledger.findings or given.keep:
        print(f"logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if ledger.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
