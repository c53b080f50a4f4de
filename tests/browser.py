"""A headless Chromium, driven through its debugging pipe: no package, no driver, no port of its own.

    with browser.chromium() as page:
        page.open("http://127.0.0.1:4040/")
        page.evaluate("document.title")

The protocol is Chrome's (https://chromedevtools.github.io/devtools-protocol/): JSON objects with a zero byte behind
each, on file descriptors 3 (to the browser) and 4 (from it). Selenium and Playwright speak it too, by way of a driver
process each, which costs more than all of the page's tests.
"""

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A bound for hangs only; a browser that starts beside a compiler may take seconds.
ANSWER_SEC = 60.0
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    # Scroll bars lie over the page, so a screenshot is as wide as it says.
    "--hide-scrollbars",
)
# Gives the two ends the numbers that the browser expects, then becomes the browser.
LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
LOWEST_FD = 10


class BrowserError(Exception):
    """The browser refused a command, or the page's script threw."""


def find() -> str | None:
    """The path of an installed browser."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab, and what it has said and asked for since it was opened."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer. What happens in between is in ``events``."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + ANSWER_SEC
        while True:
            answer = self._next(until - time.monotonic())
            if answer is None:
                raise BrowserError(f"no answer to {method} within {ANSWER_SEC:.0f} s")
            if answer.get("id") == self._number:
                break
            self.events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Goes to an address and waits for its load event, which may fall before the answer."""
        before = len(self.events)
        error = self.call("Page.navigate", url=address).get("errorText")
        if error:
            raise BrowserError(f"{address}: {error}")
        until = time.monotonic() + ANSWER_SEC
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events[before:]):
            event = self._next(until - time.monotonic())
            if event is None:
                raise BrowserError(f"{address} did not load within {ANSWER_SEC:.0f} s")
            self.events.append(event)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise; as JSON carries it."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            thrown = result["exceptionDetails"]
            raise BrowserError(thrown.get("exception", {}).get("description") or thrown["text"])
        return result["result"].get("value")

    def press(self, key: str, *, code: int, text: str = "", shift: bool = False) -> None:
        """A key as the keyboard sends it, by its name and Windows key code."""
        common: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width: int, height: int) -> None:
        """The size of the window's contents, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """What the reader's system says, such as ``prefers_color_scheme="dark"``."""
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=media)

    def screenshot(self, path: Path) -> None:
        """The whole page, also what is below the window's edge."""
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    @property
    def requested(self) -> list[str]:
        """The addresses the page has asked for."""
        self.evaluate("0")
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what the browser itself has logged as an error."""
        self.evaluate("0")
        return [text for event in self.events if (text := _complaint(event))]

    def _next(self, timeout_sec: float) -> dict[str, Any] | None:
        until = time.monotonic() + timeout_sec
        with selectors.DefaultSelector() as ready:
            ready.register(self._from, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                if not ready.select(max(0.0, until - time.monotonic())):
                    return None
                more = os.read(self._from, 1 << 20)
                if not more:
                    raise BrowserError("the browser has ended")
                self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


def _complaint(event: dict[str, Any]) -> str:
    match event.get("method"), event.get("params"):
        case "Runtime.consoleAPICalled", {"type": "error" | "warning" | "assert", "args": args}:
            return " ".join(str(arg.get("value", arg.get("description"))) for arg in args)
        case "Runtime.exceptionThrown", {"exceptionDetails": thrown}:
            return str(thrown.get("exception", {}).get("description") or thrown["text"])
        case "Log.entryAdded", {"entry": {"level": "error" | "warning", "text": text, **rest}}:
            return f"{text} {rest.get('url', '')}".strip()
    return ""


@contextlib.contextmanager
def chromium(path: str | None = None) -> Iterator[Page]:
    """A browser with one empty tab, a profile of its own, and nothing left of it afterwards."""
    path = path or find()
    if path is None:
        raise BrowserError(f"none of {', '.join(NAMES)} is installed")
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="foodstream-browser-", ignore_cleanup_errors=True)
        )
        command, answers = os.pipe(), os.pipe()
        # Out of the way of 3 and 4, which the launcher assigns.
        given = [fcntl.fcntl(end, fcntl.F_DUPFD, LOWEST_FD) for end in (command[0], answers[1])]
        sandbox = () if os.geteuid() else ("--no-sandbox",)
        words = [path, *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        with (Path(profile) / "browser.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-S", "-c", LAUNCHER, *map(str, given), *words],
                env={**os.environ, "HOME": profile},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=given,
            )
        stack.enter_context(child)
        stack.callback(child.kill)
        for end in (command[0], answers[1], *given):
            os.close(end)
        stack.callback(os.close, command[1])
        stack.callback(os.close, answers[0])
        page = Page(command[1], answers[0])
        yield page
        # By its own word first, so that its helpers end with it.
        with contextlib.suppress(BrowserError):
            page.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)
