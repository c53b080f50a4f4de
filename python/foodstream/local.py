"""The local stack: a real PostgreSQL and a real Apache Kafka on loopback ports, without Docker or an installed Java.

``foodstream local up|down|status|restart|reset|logs|psql``, also ``python -m foodstream.local``, which needs no built
extension. Everything lies in one folder (``.foodstream`` unless ``--dir`` names another):

    env             KEY=VALUE lines that every foodstream command started beside it reads, while the stack is up
    stack.json      ports, passwords, what has been created
    postgres/       data, postgres.log, process.json
    kafka-1/        data, kafka.log, process.json, server.properties

Guarantees: only processes this folder's stack started are ever signalled, only what it made is ever deleted; stacks
in different folders know nothing of each other; a second ``up`` changes nothing.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foodstream._stack import ports, process, runtime
from foodstream._stack.errors import FAILURE, USAGE, StackError
from foodstream._stack.kafka import Kafka, new_cluster_id
from foodstream._stack.postgres import ADMINISTRATOR, Postgres, binaries, client_environment

DEFAULT_FOLDER = Path(".foodstream")
# The ports of the documents' configuration, so that it works unchanged where they are free.
POSTGRES_PORT = 5432
KAFKA_PORT = 9092
# The documents' database and role: sample credentials of a server that listens on loopback only.
DATABASE = "food_delivery_db"
USER = "student"
PASSWORD = "student123"
LOG_LINES = 50

_SAMPLE = Path(__file__).with_name("orders.sql")


@dataclass(frozen=True)
class _State:
    """What `stack.json` remembers between commands."""

    postgres_port: int
    postgres_password: str
    kafka_port: int
    kafka_controller_port: int
    kafka_cluster_id: str
    sample_loaded: bool = False


class Stack:
    """The services of one folder. Methods raise ``StackError``; none prints."""

    def __init__(self, folder: Path | str = DEFAULT_FOLDER) -> None:
        self.folder = Path(folder).absolute()

    @property
    def postgres(self) -> Postgres:
        """The server as it was last set up, running or not."""
        state = self._state()
        return Postgres(self.folder / "postgres", state.postgres_port, state.postgres_password)

    @property
    def kafka(self) -> Kafka:
        """The broker as it was last set up, running or not."""
        state = self._state()
        return Kafka(self.folder / "kafka-1", state.kafka_port, state.kafka_controller_port, state.kafka_cluster_id)

    @property
    def dsn(self) -> str:
        """Where the documents' user finds the documents' database."""
        return f"postgresql://{USER}:{PASSWORD}@{ports.LOOPBACK}:{self._state().postgres_port}/{DATABASE}"

    @property
    def administrator(self) -> str:
        """The superuser's connection in libpq's `key=value` form, for tests that make databases and change settings."""
        server = self.postgres
        return f"{server.conninfo(ADMINISTRATOR, 'postgres')} password={server.password}"

    @property
    def brokers(self) -> str:
        """Where Kafka clients begin, `host:port`."""
        return self.kafka.address

    def exists(self) -> bool:
        """True if a stack was ever started in this folder, and not reset."""
        return (self.folder / "stack.json").exists()

    def running(self) -> dict[str, process.Started | None]:
        """Each service with its process, or None where it is down."""
        if not self.exists():
            return {"postgres": None, "kafka": None}
        return {"postgres": self.postgres.running, "kafka": self.kafka.running}

    def up(self, postgres_port: int | None = None, kafka_port: int | None = None, sample: bool = True) -> list[str]:
        """Starts what is not running, creates the database and its ten sample orders once; returns what it started.

        A port that is not given is the one used before, else the default, else a free one.
        """
        with self._locked():
            up = {name for name, started in self.running().items() if started is not None}
            state = self._choose_ports(up, postgres_port, kafka_port)
            # Everything that may be missing is looked for before anything starts.
            binaries()
            runtime.java()
            runtime.kafka_jars()
            self._save(state)
            services: dict[str, Postgres | Kafka] = {"postgres": self.postgres, "kafka": self.kafka}
            starting = [name for name in services if name not in up]
            try:
                self._start([services[name] for name in starting])
                self._create_database(sample)
            except BaseException:
                # All or nothing: a half-started stack is worse to find than none.
                for name in starting:
                    services[name].stop()
                raise
            self._write_environment()
            return starting

    def down(self) -> list[str]:
        """Stops what this stack started and keeps the data; returns what it stopped."""
        if not self.exists():
            return []
        with self._locked():
            return self._stop()

    def reset(self) -> list[str]:
        """Stops the stack and deletes what it made in its folder; anything else there stays."""
        if not self.exists():
            # An `up` that was refused leaves a lock and no more.
            if self.folder.is_dir() and {path.name for path in self.folder.iterdir()} - {"lock"}:
                raise StackError(f"{self.folder} holds no stack (no stack.json in it); nothing deleted", USAGE)
            shutil.rmtree(self.folder, ignore_errors=True)
            return []
        with self._locked():
            stopped = self._stop()
            for service in ("postgres", "kafka-1"):
                if (self.folder / service).exists():
                    shutil.rmtree(self.folder / service)
            for name in ("stack.json", "lock"):
                (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return stopped

    def _stop(self) -> list[str]:
        services: dict[str, Postgres | Kafka] = {"postgres": self.postgres, "kafka": self.kafka}
        with ThreadPoolExecutor() as pool:
            stopped = dict(zip(services, pool.map(lambda service: service.stop(), services.values()), strict=True))
        # It names ports of a running stack; left behind, it would point every command at nothing.
        (self.folder / "env").unlink(missing_ok=True)
        return [name for name, was_running in stopped.items() if was_running]

    def _start(self, services: Sequence[Postgres | Kafka]) -> None:
        with ThreadPoolExecutor() as pool:
            for starting in [pool.submit(service.start) for service in services]:
                starting.result()

    def _choose_ports(self, up: set[str], postgres_port: int | None, kafka_port: int | None) -> _State:
        before = self._state() if self.exists() else None
        for name, wanted, option in (
            ("postgres", postgres_port, "--postgres-port"),
            ("kafka", kafka_port, "--kafka-port"),
        ):
            current = None if before is None else (before.postgres_port if name == "postgres" else before.kafka_port)
            if name in up and wanted is not None and wanted != current:
                raise StackError(f"{name} runs on port {current}; `foodstream local down` before {option} {wanted}")
        if before is None:
            # `preferred` below; replaced by the first choice of a port.
            before = _State(POSTGRES_PORT, secrets.token_urlsafe(18), KAFKA_PORT, 0, new_cluster_id())
        taken: set[int] = set()
        if "postgres" not in up:
            port = ports.choose("PostgreSQL", "--postgres-port", postgres_port, before.postgres_port, taken)
            before = replace(before, postgres_port=port)
        taken.add(before.postgres_port)
        if "kafka" not in up:
            port = ports.choose("Kafka", "--kafka-port", kafka_port, before.kafka_port, taken)
            before = replace(before, kafka_port=port, kafka_controller_port=ports.spare({*taken, port}))
        return before

    def _create_database(self, sample: bool) -> None:
        server = self.postgres
        server.psql(
            f"""
            SELECT 'CREATE ROLE {USER} LOGIN PASSWORD ''{PASSWORD}'''
             WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{USER}') \\gexec
            SELECT 'CREATE DATABASE {DATABASE} OWNER {USER}'
             WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
            -- the producer's safe horizon needs to see when other sessions began
            GRANT pg_read_all_stats TO {USER};
            """
        )
        if sample and not self._state().sample_loaded:
            server.psql(_SAMPLE.read_text(encoding="utf-8"), DATABASE)
            self._save(replace(self._state(), sample_loaded=True))

    def _write_environment(self) -> None:
        settings = {
            "FOODSTREAM__POSTGRES__HOST": ports.LOOPBACK,
            "FOODSTREAM__POSTGRES__PORT": self.postgres.port,
            "FOODSTREAM__KAFKA__BROKERS": self.brokers,
        }
        temporary = self.folder / "env.new"
        temporary.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        temporary.replace(self.folder / "env")

    def _state(self) -> _State:
        path = self.folder / "stack.json"
        try:
            return _State(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise StackError(f"no local stack in {self.folder}; start one with `foodstream local up`") from None
        except (ValueError, TypeError) as error:
            raise StackError(f"{path} is not readable ({error}); delete {self.folder} and start again") from None

    def _save(self, state: _State) -> None:
        temporary = self.folder / "stack.new"
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.folder / "stack.json")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time in a folder: two `up`s at once would start everything twice."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise StackError(f"cannot use the folder {self.folder}: {error.strerror}", USAGE) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def run(options: Mapping[str, Any]) -> int:
    """One ``foodstream local`` command; returns its exit code (0, 1, 2 or 75).

    Keys of ``options``, all but the first with a default:

    ``command``        up, down, status, restart, reset, logs or psql
    ``dir``            the stack's folder (``.foodstream``)
    ``postgres_port``  for up and restart: int or None, the last one used or 5432 if free, else a free one
    ``kafka_port``     likewise, 9092
    ``sample``         for up and restart: create the table and ten sample orders (True)
    ``service``        for logs: postgres, kafka or None for both
    ``lines``          for logs: how many lines of each (50)
    ``args``           for psql: list of further arguments for psql ([])
    ``report``         text, or json: one JSON object as the last line on standard output
    """
    try:
        return _COMMANDS[options["command"]](Stack(options.get("dir") or DEFAULT_FOLDER), options)
    except StackError as error:
        print(f"foodstream local: {error}", file=sys.stderr)
        return error.exit_code


def _up(stack: Stack, options: Mapping[str, Any]) -> int:
    started = stack.up(options.get("postgres_port"), options.get("kafka_port"), options.get("sample", True))
    if options.get("report") == "json":
        return _print_json(stack)
    if not started:
        print("already up")
    print(f"PostgreSQL  {stack.dsn}\nKafka       {stack.brokers}\nenvironment {stack.folder / 'env'}")
    if stack.folder != DEFAULT_FOLDER.absolute():
        print(f"commands find it after: set -a; . {stack.folder / 'env'}; set +a")
    return 0


def _down(stack: Stack, options: Mapping[str, Any]) -> int:
    stopped = stack.down()
    if options.get("report") == "json":
        return _print_json(stack)
    print(f"stopped {' and '.join(stopped)}; the data stays in {stack.folder}" if stopped else "nothing was running")
    return 0


def _restart(stack: Stack, options: Mapping[str, Any]) -> int:
    stack.down()
    return _up(stack, options)


def _reset(stack: Stack, options: Mapping[str, Any]) -> int:
    stack.reset()
    if options.get("report") == "json":
        return _print_json(stack)
    print(f"stopped, and deleted what was in {stack.folder}")
    return 0


def _status(stack: Stack, options: Mapping[str, Any]) -> int:
    running = stack.running()
    if options.get("report") == "json":
        _print_json(stack)
    else:
        addresses = {"postgres": stack.dsn, "kafka": stack.brokers} if stack.exists() else {}
        for name, started in running.items():
            print(f"{name:9} up    process {started.pid}  {addresses[name]}" if started else f"{name:9} down")
    return 0 if all(running.values()) else FAILURE


def _logs(stack: Stack, options: Mapping[str, Any]) -> int:
    service = options.get("service")
    logs = {"postgres": stack.postgres.log, "kafka": stack.kafka.log}
    for name, log in logs.items():
        if service in (None, name):
            print(f"==> {log} <==\n{process.tail(log, options.get('lines') or LOG_LINES)}")
    return 0


def _psql(stack: Stack, options: Mapping[str, Any]) -> int:
    if stack.running()["postgres"] is None:
        raise StackError("PostgreSQL is not running; start it with `foodstream local up`")
    command = [str(binaries() / "psql"), *options.get("args", []), stack.postgres.conninfo(USER, DATABASE)]
    return subprocess.run(command, env=client_environment(PASSWORD), check=False).returncode


def _print_json(stack: Stack) -> int:
    running = stack.running()
    known = stack.exists()
    report = {
        "dir": str(stack.folder),
        "postgres": {
            "running": running["postgres"] is not None,
            "pid": running["postgres"].pid if running["postgres"] else None,
            "port": stack.postgres.port if known else None,
            "dsn": stack.dsn if known else None,
        },
        "kafka": {
            "running": running["kafka"] is not None,
            "pid": running["kafka"].pid if running["kafka"] else None,
            "brokers": stack.brokers if known else None,
        },
    }
    print(json.dumps(report))
    return 0


_COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "restart": _restart,
    "reset": _reset,
    "logs": _logs,
    "psql": _psql,
}


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m foodstream.local``: the same commands where the extension is not built, as in a fresh clone."""
    parser = argparse.ArgumentParser(prog="foodstream local", description="A local PostgreSQL and Kafka.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(_COMMANDS))
    for name in _COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--dir", help="folder of the stack (default .foodstream)")
        if name in ("up", "restart"):
            command.add_argument("--postgres-port", type=int)
            command.add_argument("--kafka-port", type=int)
            command.add_argument("--no-sample", dest="sample", action="store_false", help="leave the database empty")
        if name in ("up", "down", "reset", "restart", "status"):
            command.add_argument("--report", choices=("text", "json"), default="text")
        if name == "logs":
            command.add_argument("service", nargs="?", choices=("postgres", "kafka"))
            command.add_argument("--lines", type=int, default=LOG_LINES)
        if name == "psql":
            command.usage = "%(prog)s [--dir DIR] [arguments for psql itself]"
    options, rest = parser.parse_known_args(argv)
    if rest and options.command != "psql":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return run({**vars(options), "args": rest})


if __name__ == "__main__":
    os.umask(os.umask(0) | 0o022)
    sys.exit(main())
