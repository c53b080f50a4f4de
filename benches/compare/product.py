"""foodstream as a reader of its README runs it: the installed command, and a configuration file over the shipped one.

Columns, rules, quarantine and exactly-once are those of the shipped configuration; a file here says where things lie
and how much is taken at once.
"""

import json
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.process import Usage, run, without_settings

COMMAND = Path(sysconfig.get_path("scripts"), "foodstream")


def configuration(
    folder: Path, postgres: Mapping[str, object], brokers: str, topic: str, changes: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Writes ``folder/orders.yml``: all folders of the lake within ``folder``, ``changes`` by section over that."""
    sections: dict[str, dict[str, Any]] = {
        "postgres": {**postgres, "table": "orders"},
        "kafka": {"brokers": brokers, "topic": topic},
        "streaming": {
            "checkpoint_location": str(folder / "checkpoint"),
            "last_processed_timestamp_location": str(folder / "position"),
        },
        "datalake": {"path": str(folder / "lake")},
    }
    for name, section in changes.items():
        sections[name] = {**sections.get(name, {}), **section}
    file = folder / "orders.yml"
    # JSON is YAML.
    file.write_text(json.dumps(sections, indent=2) + "\n", encoding="utf-8")
    return file


def foodstream(folder: Path, *arguments: str | Path, timeout_sec: float = 600.0) -> Usage:
    """Runs the command in ``folder``, its output in ``foodstream.log`` there."""
    log = folder / "foodstream.log"
    return run([COMMAND, *arguments], log, environment=without_settings(), folder=folder, timeout_sec=timeout_sec)
