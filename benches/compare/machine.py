"""What a run was made on and with: as much as a reader needs to repeat it, and nothing that names the place."""

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

from foodstream import _core
from foodstream._stack import runtime

from compare import packages
from compare.services import Services

_DISTRIBUTIONS = ("foodstream", "pyspark", "polars", "confluent-kafka", "psycopg", "pyarrow", "duckdb")


def describe() -> dict[str, str | int | float]:
    """Processor, cores this process may use, memory and kernel."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
    }


def load() -> float:
    """Processes that wanted to run over the last minute: read before the services start, it tells of others."""
    return os.getloadavg()[0]


def build() -> str:
    """Of foodstream: two builds may have one version."""
    return hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest()[:16]


def versions(services: Services) -> dict[str, str]:
    """Of everything that took part and is installed."""
    printed = subprocess.run([runtime.java(), "-version"], capture_output=True, text=True, check=False).stderr
    java = re.search(r'version "([^"]+)"', printed)
    return {
        **{name: packages.version(name) for name in _DISTRIBUTIONS if packages.missing(name) is None},
        "PostgreSQL": services.sql("SHOW server_version").strip(),
        "Kafka": runtime.KAFKA_VERSION,
        "Java": java[1] if java else "unknown",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()
