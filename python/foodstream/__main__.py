"""The command ``foodstream`` and ``python -m foodstream``: hands the arguments to the Rust core's parser.

``local`` and ``demo`` are Python: the core parses them like every command, then comes back through ``run_python``.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments after the program's name, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        from foodstream._core import main as run_core
    except ImportError as error:
        print(f"foodstream: the extension is not built ({error}); `make build` builds it", file=sys.stderr)
        return 1
    return run_core(["foodstream", *arguments])


def run_python(command: str, options: Mapping[str, Any]) -> int:
    """Called by the core for ``local`` and ``demo``; the keys of ``options`` stand at the two ``run`` functions."""
    if command == "demo":
        from foodstream._demo import run
    else:
        from foodstream.local import run
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
