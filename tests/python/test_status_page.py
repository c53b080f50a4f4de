"""The status page in a real browser over a real pipeline, and what is made for other watchers from the same metrics.

The browser's tests want a Chromium on the PATH, and are skipped without one unless FOODSTREAM_REQUIRE_BROWSER is 1.
FOODSTREAM_SCREENSHOTS names a folder that their screenshots are written to.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import altered_status
import browser
import promql_parser
import pytest
from conftest import ROOT, Pipeline, Services, fresh_database, fresh_pipeline
from foodstream._stack import ports, process
from prometheus_client.parser import text_string_to_metric_families

PAGE = ROOT / "src" / "serve" / "page"
DEPLOY = ROOT / "deploy"
LARGEST_PAGE_BYTES = 100_000
# What the page promises.
NOTICED_WITHIN_SEC = 5.0
# A bound for hangs.
SOON_SEC = 60.0
WIDE, NARROW = (1280, 900), (360, 740)


class Rows(threading.Thread):
    """Inserts a few rows all the while, some of them invalid."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.stop = threading.Event()

    def run(self) -> None:
        with self.pipeline.database.connect() as connection:
            while not self.stop.wait(0.2):
                connection.execute(
                    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
                    "SELECT 'Alice', 'Spice Garden', 'Dosa', n - 1, 'PLACED' FROM generate_series(1, 20) n"
                )


class Watched:
    """A producer and a consumer whose status servers have ports of their own, also after a restart."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        producer = ports.spare(set())
        self.ports = {"producer": producer, "consumer": ports.spare({producer})}
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, side: str) -> None:
        self.processes[side] = self.pipeline.start(side, "--status-port", str(self.ports[side]))

    def kill(self, side: str) -> None:
        self.processes[side].send_signal(signal.SIGKILL)
        self.processes[side].wait(SOON_SEC)

    def address(self, side: str) -> str:
        return f"http://127.0.0.1:{self.ports[side]}/"

    def get(self, side: str, path: str) -> str:
        with urllib.request.urlopen(self.address(side) + path, timeout=SOON_SEC) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def watched(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with fresh_database(services) as database, fresh_pipeline(database, folder) as pipeline:
        rows = Rows(pipeline)
        rows.start()
        try:
            watched = Watched(pipeline)
            watched.start("producer")
            watched.start("consumer")
            yield watched
        finally:
            rows.stop.set()
            rows.join()


@pytest.fixture(scope="module")
def page(watched: Watched) -> Iterator[browser.Page]:
    """The producer's page, with both sides at work."""
    if browser.find() is None and os.environ.get("FOODSTREAM_REQUIRE_BROWSER") != "1":
        pytest.skip(f"no browser is installed: none of {', '.join(browser.NAMES)}")
    wait(lambda: answers(watched, "producer") and answers(watched, "consumer"), "both status servers")
    with browser.chromium() as page:
        page.resize(*WIDE)
        page.open(watched.address("producer"))
        yield page


def wait(condition: Callable[[], bool], what: str, timeout_sec: float = SOON_SEC) -> None:
    if not process.wait_until(condition, timeout_sec):
        pytest.fail(f"waited {timeout_sec:.0f} s for {what}")


def answers(watched: Watched, side: str) -> bool:
    try:
        return bool(json.loads(watched.get(side, "healthz")))
    except OSError:
        return False


def state(page: browser.Page) -> Any:
    return page.evaluate("document.querySelector('#health').dataset.state")


def text(page: browser.Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))


def shows(page: browser.Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector({json.dumps(selector)}) !== null"))


def has_batches(page: browser.Page, side: str) -> bool:
    return len(shown_batches(page, side)) > 3


def shown_batches(page: browser.Page, side: str) -> list[str]:
    """The numbers of the batches of one side, the newest first."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#batches-table tbody tr')]"
        f".filter((row) => row.cells[1]?.textContent === '{side}').map((row) => row.cells[2].textContent)"
    )
    return found


def whole(page: browser.Page, width: int) -> None:
    """All of the page in the window, so that every chart is drawn; it grows with the first figures."""

    def drawn() -> bool:
        page.resize(width, page.evaluate("document.documentElement.scrollHeight"))
        return bool(page.evaluate("[...document.querySelectorAll('.plot svg')].every((svg) => svg.childElementCount)"))

    wait(drawn, "the charts")


def screenshot(page: browser.Page, name: str) -> None:
    folder = os.environ.get("FOODSTREAM_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(Path(folder) / f"{name}.png")


def test_the_page_is_small_and_whole_in_itself() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    assert sum(len(content.encode()) for content in files.values()) < LARGEST_PAGE_BYTES
    elsewhere = {name: re.findall(r"https?://[^\s'\"`]+", content) for name, content in files.items()}
    # A name space is a name, not an address.
    assert {link for links in elsewhere.values() for link in links} == {"http://www.w3.org/2000/svg"}
    as_markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b")
    assert {name: found for name, content in files.items() if (found := as_markup.findall(content))} == {}


def test_the_charts_move_while_rows_flow(page: browser.Page) -> None:
    # On a busy machine events come late at first, and the page says so.
    wait(lambda: (state(page), text(page, "#state")) == ("ok", "Running"), "the health line to say that all is well")
    for side in ("producer", "consumer"):
        wait(partial(has_batches, page, side), f"the {side}'s batches")
    whole(page, WIDE[0])
    lines = "JSON.stringify([...document.querySelectorAll('#chart-input .line')].map((line) => line.getAttribute('d')))"
    before, newest = page.evaluate(lines), shown_batches(page, "consumer")[0]
    wait(lambda: page.evaluate(lines) != before, "the chart to move")
    assert all(len(line) > 10 for line in json.loads(page.evaluate(lines))), "one of the two lines is empty"
    wait(lambda: shown_batches(page, "consumer")[0] != newest, "a new batch in the table")
    for selector, what in (
        ("#chart-publish .bar", "the producer's durations"),
        ("#chart-consume .bar", "the consumer's durations"),
        ("#kafka-partitions tbody th", "the topic's partitions"),
        ("#lake-partitions tbody th", "the lake's partitions"),
        ("#kafka-partitions tbody td:nth-child(5)[title^='20']", "the newest message of a partition"),
        ("#lake-partitions tbody td:nth-child(6)[title^='20']", "the newest row of a date"),
        ("#rejects-table tbody th", "the rejects"),
        ("#chart-daily .bar", "the totals"),
        ("#log-lines time", "the log"),
    ):
        wait(partial(shows, page, selector), what)
    assert "password" in text(page, "#config-text") and "student123" not in page.evaluate("document.body.textContent")


def test_figures_are_in_units_that_people_read(page: browser.Page) -> None:
    shown = {
        "seconds(0)": "0 s",
        "seconds(0.00034)": "340 µs",
        "seconds(0.0123)": "12.3 ms",
        "seconds(0.9996)": "1 s",
        "seconds(3.44)": "3.4 s",
        "seconds(59.97)": "1 min",
        "seconds(125)": "2 min 5 s",
        "seconds(3599.6)": "1 h",
        "seconds(86399)": "1 d",
        "seconds(273600)": "3 d 4 h",
        "count(9876)": "9,876",
        "count(999999)": "1 M",
        "count(10234567)": "10.2 M",
        "count(null)": "–",
        "rate(0.43)": "0.43/s",
        "rate(98300)": "98.3 k/s",
        "bytes(48211004)": "48.2 MB",
        "decimal('12345678901234567890.10')": "12,345,678,901,234,567,890.10",
        "moment('2026-11-29T19:45:02.113Z')": "2026-11-29 19:45:02",
    }
    made = page.evaluate(
        f"import('./page/format.js').then((format) => [{', '.join(f'format.{call}' for call in shown)}])"
    )
    assert [text.replace("\xa0", " ") for text in made] == list(shown.values())


def test_it_fits_every_width_in_light_and_in_dark(page: browser.Page) -> None:
    page.evaluate("document.querySelector('#main').focus()")
    grounds = set()
    for scheme in ("light", "dark"):
        page.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        grounds.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        for name, (width, height) in {"wide": WIDE, "narrow": NARROW}.items():
            page.resize(width, height)
            wait(partial(page.evaluate, f"innerWidth === {width}"), "the window")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"scrolls sideways at {width} pixels"
            whole(page, width)
            screenshot(page, f"{name}-{scheme}")
    assert len(grounds) == 2, "light and dark look the same"
    page.resize(*WIDE)


# What can be worked, each by a name that stays: a group of radio buttons is one stop, at the one that is chosen.
STOPS = """
    window.named = (node) => node.id || node.name || node.getAttribute('aria-label')
        || node.getAttribute('aria-labelledby') || node.textContent;
    [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')]
        .filter((node) => node.checkVisibility() && !(node.type === 'radio' && !node.checked)).map(named)
"""


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: browser.Page) -> None:
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    expected = set(page.evaluate(STOPS))
    assert len(expected) > 30
    reached: set[str] = set()
    unmarked = []
    for _ in range(len(expected) + 20):
        page.press("Tab", code=9)
        name, outline = page.evaluate(
            "(() => { const at = document.activeElement, seen = at.type === 'radio' ? at.nextElementSibling : at;"
            "return at === document.body ? ['the browser', ''] : [named(at), getComputedStyle(seen).outlineStyle]; })()"
        )
        if outline == "none":
            unmarked.append(name)
        reached.add(name)
    assert expected - reached == set()
    assert unmarked == [], "focus cannot be seen"
    page.evaluate("document.querySelector('#theme').focus()")
    page.press("Enter", code=13, text="\r")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("document.querySelector('[data-copy=batches]').focus()")
    page.press("Enter", code=13, text="\r")
    wait(lambda: text(page, "[data-copy=batches]") == "Copied", "the batches on the clipboard")
    page.evaluate("document.querySelector('#chart-input svg').focus()")
    page.press("ArrowLeft", code=37)
    assert page.evaluate("document.querySelector('#chart-input .mark') !== null")
    spoken = page.evaluate("document.querySelector('#chart-input svg').getAttribute('aria-valuetext')")
    assert re.fullmatch(r"\d\d:\d\d:\d\d: PostgreSQL to Kafka \S+, Kafka to lake \S+", spoken.replace("\xa0", "")), (
        spoken
    )


def test_a_killed_consumer_turns_the_health_line_and_its_restart_mends_it(page: browser.Page, watched: Watched) -> None:
    taken: list[float] = []
    # The machine may be busy just then, which a second and a third try rule out.
    while not taken or (taken[-1] > NOTICED_WITHIN_SEC and len(taken) < 3):
        wait(lambda: state(page) == "ok", "a healthy pipeline")
        watched.kill("consumer")
        killed = time.monotonic()
        wait(lambda: state(page) == "down", "the health line to tell of the kill")
        taken.append(time.monotonic() - killed)
        assert text(page, "#state") == "Down" and "consumer" in text(page, "#health-text")
        wait(lambda: "no consumer is running" in text(page, "#edge-consume"), "the flow to tell of it")
        screenshot(page, "consumer-killed")
        watched.start("consumer")
        wait(lambda: state(page) == "ok", "the health line to be mended by the restart")
    assert min(taken) <= NOTICED_WITHIN_SEC, taken


def test_neither_an_error_of_the_page_nor_a_request_elsewhere(page: browser.Page, watched: Watched) -> None:
    assert page.complaints == []
    assert {address for address in page.requested if not address.startswith(watched.address("producer"))} == set()


def test_figures_of_a_process_that_is_gone_are_called_old_until_it_is_back(
    page: browser.Page, watched: Watched
) -> None:
    stale = "!document.querySelector('#stale').hidden"
    wait(lambda: not page.evaluate(stale), "fresh figures")
    watched.kill("producer")
    wait(lambda: page.evaluate(stale) and state(page) == "lost", "the banner")
    assert "does not answer" in text(page, "#stale")
    screenshot(page, "producer-killed")
    watched.start("producer")
    wait(lambda: not page.evaluate(stale) and state(page) == "ok", "the page to find the process again")
    before = shown_batches(page, "producer")[:1]
    wait(lambda: shown_batches(page, "producer")[:1] not in ([], before), "batches of the new process")


@pytest.mark.parametrize(
    ("alter", "seen"),
    [
        (
            altered_status.far_behind,
            {
                "#edge-publish": ["≥ 10 k rows", "oldest 1 h 30 min", "published at 50 k/s"],
                "#edge-consume": ["10.2 M messages", "at 80 k/s worked off in about 5 min 41 s"],
                "#edge-readable": ["2 h 10 min behind"],
            },
        ),
        (
            altered_status.idle_for_an_hour,
            {
                "#edge-publish": ["0 rows", "nothing waits"],
                "#edge-readable": ["0 s behind: every committed row can be read", "no row in the last 5 min"],
                "#node-source": ["1 h 2 min ago"],
                "#node-lake": ["1 h 2 min ago"],
                "#batches-table": ["no batch yet"],
            },
        ),
        (
            altered_status.held_back,
            {"#edge-publish": ["1,200 held back by the transaction of pid 4242 (<b>psql</b>), open for 35.1 s"]},
        ),
        (
            altered_status.not_looked_at_for_a_while,
            {
                "#edge-publish": ["– rows", "none older than 35 s"],
                "#edge-consume": ["– messages", "none older than 8.1 s"],
                "#edge-readable": ["35 s behind"],
            },
        ),
        (
            altered_status.nothing_known,
            {"#edge-publish": ["– rows"], "#edge-consume": ["– messages"], "#node-lake": ["not known"]},
        ),
    ],
)
def test_it_stays_right(
    alter: Callable[[dict[str, Any]], None], seen: dict[str, list[str]], page: browser.Page, watched: Watched
) -> None:
    wait(lambda: {"producer", "consumer"} <= {part["role"] for part in full_status(watched)["parts"]}, "both parts")
    status = full_status(watched)
    alter(status)
    with altered_status.Altered(status, PAGE) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            page.open(server.address)
            whole(page, WIDE[0])
            for selector, words in seen.items():
                for word in words:
                    wait(partial(says, page, selector, word), f"{word!r} in {selector}")
            screenshot(page, alter.__name__.replace("_", "-"))
            page.resize(*NARROW)
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
            assert page.evaluate("document.querySelector('main b b, main :not(.legend span) > b')") is None
        finally:
            page.open("about:blank")
            server.shutdown()
            serving.join()


def full_status(watched: Watched) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(watched.get("producer", "api/status"))
    return status


def says(page: browser.Page, selector: str, words: str) -> bool:
    return words in text(page, selector).replace("\xa0", " ")


def samples(exposition: str) -> dict[str, set[str]]:
    """The names of the samples, each with the labels that it has."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> dict[str, str]:
    """Every PromQL expression under deploy/, by where it stands."""
    dashboard = json.loads((DEPLOY / "grafana" / "foodstream.json").read_text(encoding="utf-8"))
    found = {
        f"panel {panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)\n +expr: (.+)\n", rules)
    assert len(alerts) == rules.count("alert: ") > 5
    return found | {f"alert {name}": expression for name, expression in alerts}


def named(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics of an expression, each with the labels that it is selected by."""
    parsed = promql_parser.parse(expression)
    selectors: list[Any] = []
    promql_parser.walk(parsed, lambda node: selectors.append(node))
    for selector in selectors:
        if isinstance(selector, promql_parser.VectorSelector):
            yield str(selector.name), {matcher.name for matcher in selector.matchers.matchers}


def grouped(expression: str) -> set[str]:
    """The labels of an expression's `by (…)`, `on (…)` and `group_left (…)`."""
    return {
        label.strip()
        for labels in re.findall(r"\b(?:by|on|group_left) ?\(([\w, ]+)\)", expression)
        for label in labels.split(",")
    }


def test_the_dashboard_and_the_alerts_name_metrics_and_labels_that_are_exposed(watched: Watched) -> None:
    # Those of the scrape itself; `le` and `quantile` are exposed as any other.
    of_prometheus = {"job", "instance"}

    def exposed() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"up": set()}
        for side in ("producer", "consumer"):
            for name, labels in samples(watched.get(side, "metrics")).items():
                found.setdefault(name, set()).update(labels)
        return found

    wait(lambda: answers(watched, "producer") and answers(watched, "consumer"), "both status servers")
    wanted = {name for expression in expressions().values() for name, _ in named(expression)}
    assert len(wanted) > 20
    wait(lambda: wanted <= exposed().keys() | {"ALERTS"}, f"{sorted(wanted - exposed().keys())} in /metrics")
    known = exposed()
    for place, expression in expressions().items():
        selected = list(named(expression))
        for name, labels in selected:
            assert labels <= known[name] | of_prometheus, (place, name)
        carried = set().union(*(known[name] for name, _ in selected))
        assert grouped(expression) <= carried | of_prometheus, place


def test_promtool_takes_the_rules_and_their_tests() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for command in (
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        done = subprocess.run(
            [promtool, *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
