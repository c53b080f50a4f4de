"""Java libraries of a peer, resolved once from their public coordinates into the user's cache folder.

By ``jgo``, as the local stack resolves Kafka itself; never while something is timed.
"""

import fcntl
import re
import shutil
import sys
import tempfile
from pathlib import Path

from foodstream._stack.runtime import cache_folder


class Unavailable(Exception):
    """A peer cannot be had on this machine; the message is the reason that stands in the table."""


def jars(name: str, coordinates: str) -> Path:
    """A folder that holds the artifacts of ``coordinates`` and all they need at run time, as ``*.jar``.

    ``coordinates`` are ``group:artifact:version``, several joined by ``+``. ``name`` names the folder, so it holds the
    version. Raises ``Unavailable`` if they cannot be resolved.
    """
    folder = cache_folder() / f"bench-{name}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "download.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _download(folder, coordinates)
    # jgo's resolver raises these two for a coordinate nobody serves; what the network raises are OSErrors.
    except (OSError, RuntimeError, ValueError) as error:
        raise Unavailable(f"could not fetch {coordinates}: {_reason(error)}") from error
    return folder


def artifact(jar: Path) -> str:
    """Name of an artifact without its version: ``kafka-clients`` of ``kafka-clients-3.9.1.jar``."""
    return re.sub(r"-\d.*$", "", jar.stem)


def _download(folder: Path, coordinates: str) -> None:
    try:
        import jgo
        from jgo.config import GlobalSettings
        from jgo.env import EnvironmentBuilder, LinkStrategy
        from jgo.maven import MavenContext
    except ImportError as error:
        raise Unavailable(f"jgo, which fetches {coordinates}, is not installed") from error
    print(f"fetching {coordinates} (once) into {folder}", file=sys.stderr, flush=True)
    repositories = {"central": jgo.constants.MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="bench-") as scratch:
        workspace = Path(scratch)
        environment = EnvironmentBuilder(
            context=MavenContext(repo_cache=workspace / "repository", remote_repos=repositories),
            cache_dir=workspace / "environments",
            link_strategy=LinkStrategy.HARD,
        ).from_endpoint(coordinates)
        complete = workspace / "complete"
        complete.mkdir()
        for jar in sorted(environment.path.rglob("*.jar")):
            shutil.move(jar, complete / jar.name)
        if not any(complete.iterdir()):
            raise OSError("the resolved environment is empty")
        # Under its name whole or not at all, so its presence is proof enough for the next call.
        complete.replace(folder)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: a proxy or a name that does not resolve hides under four layers."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__
