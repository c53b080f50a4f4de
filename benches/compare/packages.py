"""Which peers are installed, and why one is not.

    python -m compare.packages REQUIREMENTS      installs each requirement by itself and notes what failed

One that cannot be had must not keep the others away; the reason then stands in the table. Notes lie in the
environment, beside the packages.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

_NOTES = Path(sys.prefix, "compare-missing.json")


def version(distribution: str) -> str:
    """Version of an installed distribution."""
    return importlib.metadata.version(distribution)


def missing(*distributions: str) -> str | None:
    """Why the first of them that is not installed is not; None if all are."""
    notes: dict[str, str] = json.loads(_NOTES.read_text(encoding="utf-8")) if _NOTES.exists() else {}
    for distribution in distributions:
        try:
            version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return notes.get(distribution, f"{distribution} is not installed")
    return None


def install(requirements: Path) -> None:
    """Installs line by line; whatever fails is noted and said, and does not end it."""
    notes: dict[str, str] = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", requirement],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            name = requirement.partition("=")[0].partition("[")[0]
            errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR: ")]
            reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with {done.returncode}"
            notes[name] = f"{requirement} could not be installed: {reason}"
            print(notes[name], file=sys.stderr)
    _NOTES.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    install(Path(sys.argv[1]))
