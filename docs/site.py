"""What the site needs beside docs/: the README as its first page, and the files elsewhere that pages link to.

A hook of mkdocs; `mkdocs.yml` names it, `make docs-site` runs it.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
HOME = "index.md"
# A link to a file of the repository, as it is written in the README and in a page of docs/.
IN_README = re.compile(r"\]\((?!\w+:|#)([^)#]+)")
IN_DOCS = re.compile(r"\]\(\.\./([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page, and each linked file of the repository under the path it has there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, HOME, content=IN_README.sub(lambda link: _from_home(link[1]), readme)))
    linked = {target for target in IN_README.findall(readme) if not target.startswith("docs/")}
    for page in DOCS.glob("*.md"):
        linked.update(IN_DOCS.findall(page.read_text(encoding="utf-8")))
    for target in sorted(linked):
        # What is not there fails as a link.
        if (ROOT / target).is_file():
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Links out of docs/ lead to the copies."""
    return markdown if page.file.src_uri == HOME else IN_DOCS.sub(r"](\1", markdown)


def _from_home(target: str) -> str:
    return "](" + target.removeprefix("docs/")
