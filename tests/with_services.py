"""Runs a command beside a real PostgreSQL and a real Kafka, and takes them away again.

    python tests/with_services.py -- cargo test

The command finds them in FOODSTREAM_TEST_POSTGRES (a superuser's, `host=… port=… user=… password=… dbname=…`)
and FOODSTREAM_TEST_KAFKA (`host:port`). Where both are set already, the services they name are used and left alone.
Needs the extra `[local]`, not the built extension. Exits with the command's code.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Behind what is installed: only a clone that has not been built takes the package from here.
sys.path.append(str(Path(__file__).resolve().parent.parent / "python"))

from foodstream._stack import kafka, ports
from foodstream._stack.errors import StackError
from foodstream.local import Stack

POSTGRES = "FOODSTREAM_TEST_POSTGRES"
KAFKA = "FOODSTREAM_TEST_KAFKA"


@contextlib.contextmanager
def services() -> Iterator[dict[str, str]]:
    """The two variables, of services that already run or of a stack that lives as long as the block."""
    given = {name: os.environ[name] for name in (POSTGRES, KAFKA) if os.environ.get(name)}
    if len(given) == 2:
        yield given
        return
    if given:
        raise StackError(f"{', '.join(given)} is set alone; set both {POSTGRES} and {KAFKA}, or neither")
    # The tests start some thirty brokers.
    kafka.record_archive()
    with tempfile.TemporaryDirectory(prefix="foodstream-tests-") as folder:
        stack = Stack(folder)
        try:
            # Not the default ports: those are for the stack a developer has up beside the tests.
            postgres_port = ports.spare(set())
            stack.up(postgres_port, ports.spare({postgres_port}), sample=False)
            yield {POSTGRES: stack.administrator, KAFKA: stack.brokers}
        finally:
            stack.reset()


def main(argv: Sequence[str]) -> int:
    command = list(argv[1:]) if argv[:1] == ["--"] else list(argv)
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    # A runner that is told to end must still take the services away.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with services() as variables:
            return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    except StackError as error:
        print(f"with_services: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
