"""Consumes what a topic holds now through the Python API; the sibling of ``examples/pipeline.rs``.

One JSON object on standard output: rows, and the seconds from the configuration to the closed consumer. The start of
the interpreter and the import are not in them.
"""

import json
import sys
import time

import foodstream


def main() -> None:
    """Argument: the configuration file."""
    consumer_class = foodstream.Consumer  # its first use loads the core, which belongs to the import
    begun = time.monotonic()
    with consumer_class(sys.argv[1], available_now=True) as consumer:
        done = consumer.run()
    json.dump({"rows": done.rows, "seconds": time.monotonic() - begun}, sys.stdout)


if __name__ == "__main__":
    main()
