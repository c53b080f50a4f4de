"""The command ``foodstream`` and ``python -m foodstream``: hands the arguments to the Rust core.

Most commands are carried out there. ``local`` and the demonstrations are Python: the core parses them like every
command and gives them back with their options.
"""

import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments after the program's name, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        from foodstream._core import main as run_core
    except ImportError as error:
        print(f"foodstream: the extension is not built ({error}); `make build` builds it", file=sys.stderr)
        return 1
    # The core answers signals itself. Python's own handler would only note a Ctrl-C and raise it when all is done.
    answer = signal.signal(signal.SIGINT, signal.SIG_DFL)
    done = run_core(["foodstream", *arguments])
    if isinstance(done, int):
        return done
    signal.signal(signal.SIGINT, answer)
    command, options = done
    if command == "demo":
        from foodstream._demo import run
    elif command == "purchases demo":
        from foodstream._demo_purchases import run
    else:
        from foodstream.local import run
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
