"""Runs a command beside a real PostgreSQL and a real Kafka, and takes them away again.

    python tests/with_services.py -- cargo test

The command finds them in FOODSTREAM_TEST_POSTGRES (a superuser's, `host=… port=… user=… password=… dbname=…`)
and FOODSTREAM_TEST_KAFKA (`host:port`). Where both are set already, the services they name are used and left alone.
Needs the extra `[local]`, not the built extension. Exits with the command's code.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Behind what is installed: only a clone that has not been built takes the package from here.
sys.path.append(str(Path(__file__).resolve().parent.parent / "python"))

import told_to_end
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


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a command to its end; if we are told to end, so is it, and takes away first what it has started itself."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with told_to_end.later():
            child = subprocess.Popen(command, env=environment)
        return child.wait()
    except SystemExit:
        if child is not None:
            child.terminate()
        raise
    finally:
        # After Ctrl-C, too: the terminal has told it then.
        if child is not None:
            try:
                child.wait(told_to_end.ALL_PATIENCE_SEC)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def main(argv: Sequence[str]) -> int:
    command = list(argv[1:]) if argv[:1] == ["--"] else list(argv)
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    told_to_end.exit_when_told()
    try:
        with services() as variables:
            return run(command, {**os.environ, **variables})
    except StackError as error:
        print(f"with_services: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
