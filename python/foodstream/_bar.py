"""A progress bar for ``on_progress``: a line on a terminal, HTML without script in a notebook, otherwise nothing."""

import html
import importlib
import shutil
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

# A terminal is not written to more often, whatever the rate of commits.
REDRAW_SEC = 0.1
WIDTH = 30


class ProgressBar:
    """Shows how far a run has come, as its ``on_progress``, on a terminal or in a notebook; elsewhere it does nothing.

    One for each run::

        with foodstream.ProgressBar() as bar:
            consumer.run(available_now=True, on_progress=bar)

    How much is to come a consumer knows that runs with ``available_now``; of other runs ``total`` says how many rows
    there will be, or without it rows and rate are shown alone. ``unit`` is what they are called. ``file`` is where a
    terminal is looked for, standard error by default. Needs no package: in a notebook IPython is there already.
    """

    def __init__(self, total: int | None = None, *, unit: str = "rows", file: TextIO | None = None) -> None:
        if total is not None and (isinstance(total, bool) or not isinstance(total, int) or total < 0):
            raise ValueError(f"total is a number of rows from 0 on, or None, not {total!r}")
        if not isinstance(unit, str):
            raise TypeError(f"unit is a text (str), not {type(unit).__name__}")
        if file is not None and not hasattr(file, "isatty"):
            raise TypeError(f"file is a text file, such as sys.stderr, not {type(file).__name__}")
        self._total = total
        self._unit = unit
        self._rows = 0
        self._read = 0
        self._behind: int | None = None
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._screen = _screen(file or sys.stderr)

    def __call__(self, progress: dict[str, Any]) -> None:
        """Add what a report says was done."""
        self._rows += progress["numInputRows"]
        for source in progress["sources"]:
            starts, ends = source.get("startOffset"), source.get("endOffset")
            if isinstance(starts, dict) and isinstance(ends, dict):
                self._read += sum(ends.values()) - sum(starts.values())
            self._behind = source.get("metrics", {}).get("offsetsBehindLatest")
        now = time.monotonic()
        if self._screen is not None and now - self._drawn >= REDRAW_SEC:
            self._drawn = now
            self._screen.show(self._share(), self._text())

    def close(self) -> None:
        """Show the last state and leave its line. May be called again."""
        screen, self._screen = self._screen, None
        if screen is not None and self._rows:
            screen.end(self._share(), self._text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _share(self) -> float | None:
        """What is done of all, from 0 to 1, where that is known."""
        if self._total is not None:
            return min(1.0, self._rows / self._total) if self._total else 1.0
        if self._behind is not None and self._read + self._behind > 0:
            return self._read / (self._read + self._behind)
        return None

    def _text(self) -> str:
        elapsed = max(time.monotonic() - self._begun, 1e-6)
        text = f"{self._rows:,} {self._unit}, {self._rows / elapsed:,.0f} a second"
        share = self._share()
        if share is None or share == 0:
            return text
        if share < 1:
            return f"{text}, {elapsed * (1 - share) / share:,.0f} s left"
        return f"{text}, {elapsed:,.1f} s"


class _Screen(Protocol):
    """Where a bar is shown."""

    def show(self, share: float | None, text: str) -> None: ...
    def end(self, share: float | None, text: str) -> None: ...


class _Terminal:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def show(self, share: float | None, text: str) -> None:
        done = round(WIDTH * (share or 0))
        line = text if share is None else f"[{'#' * done}{' ' * (WIDTH - done)}] {text}"
        # A line that wraps could not be drawn over.
        self._file.write(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        self._file.flush()

    def end(self, share: float | None, text: str) -> None:
        self.show(share, text)
        self._file.write("\n")
        self._file.flush()


class _Notebook:
    """A display of its own, which is drawn anew in its place."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    def show(self, share: float | None, text: str) -> None:
        value = "" if share is None else f' value="{share:.4f}"'
        self._draw(f"<progress{value}></progress> {html.escape(text)}")

    def end(self, share: float | None, text: str) -> None:
        # Without a value it would go on moving.
        self.show(1.0 if share is None else share, text)

    def _draw(self, markup: str) -> None:
        page = self._display.HTML(markup)
        if self._handle is None:
            self._handle = self._display.display(page, display_id=True)
        else:
            self._handle.update(page)


def _screen(file: TextIO) -> _Screen | None:
    """A notebook if this is a kernel of one, else the file if it is a terminal."""
    # Where nobody has loaded IPython this is no notebook.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        return _Notebook(importlib.import_module("IPython.display"))
    return _Terminal(file) if file.isatty() else None
