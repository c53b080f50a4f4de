"""What PySpark needs from around it: a Java it supports, and the jars of its connector to Kafka."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foodstream._stack import runtime

from compare import packages
from compare.jars import artifact, jars

SUPPORTED = (17, 21, 25)
# Spark's launcher always asks for it, though only its linear algebra would use it.
_MODULE = "jdk.incubator.vector"


@dataclass(frozen=True)
class Java:
    """A Java runtime."""

    home: Path
    version: int
    # False for one that was cut down and lacks the module.
    whole: bool

    def home_for_spark(self, folder: Path) -> Path:
        """A JAVA_HOME Spark starts with; made within ``folder`` where the runtime lacks the module."""
        if self.whole:
            return self.home
        command = folder / "java" / "bin" / "java"
        command.parent.mkdir(parents=True)
        # Takes the option out and hands the rest on.
        command.write_text(
            "#!/bin/sh\n"
            f'for word in "$@"; do shift; [ "$word" = "--add-modules={_MODULE}" ] || set -- "$@" "$word"; done\n'
            f'exec {shlex.quote(str(self.home / "bin" / "java"))} "$@"\n',
            encoding="utf-8",
        )
        command.chmod(0o755)
        return command.parent.parent


@cache
def java() -> Java:
    """The system's Java if Spark supports it, else the packaged one that Kafka runs on."""
    for command in _installed():
        found = _examine(command)
        if found is not None and found.whole:
            return found
    packaged = runtime.java()
    return _examine(packaged) or Java(packaged.parent.parent, 0, whole=False)


def class_path() -> str:
    """Jars of the connector that Spark does not bring itself. Raises ``Unavailable`` if they cannot be had."""
    version = packages.version("pyspark")
    folder = jars(f"spark-kafka-{version}", f"org.apache.spark:spark-sql-kafka-0-10_2.13:{version}")
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None and spec.origin is not None
    own = {artifact(jar) for jar in (Path(spec.origin).parent / "jars").glob("*.jar")}
    return os.pathsep.join(str(jar) for jar in sorted(folder.glob("*.jar")) if artifact(jar) not in own)


def _installed() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    for folder in (str(Path(home, "bin")) if home else "", os.environ.get("PATH", "")):
        found = shutil.which("java", path=folder) if folder else None
        if found is not None:
            yield Path(found).resolve()


def _examine(command: Path) -> Java | None:
    """None for a Java that Spark does not support."""
    printed = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) not in SUPPORTED:
        return None
    modules = subprocess.run([command, "--list-modules"], capture_output=True, text=True, check=False).stdout
    return Java(command.parent.parent, int(version[1]), whole=f"{_MODULE}@" in modules)
