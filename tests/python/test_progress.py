"""What a run tells on its way: to `on_progress` in its caller's thread, and to a bar on a terminal or in a notebook."""

import asyncio
import io
import math
import re
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import foodstream
import pytest
from foodstream import ProgressBar
from foodstream.purchases import EventProducer

REPORT = {"numInputRows": 10, "sources": [{}]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """Each state of the line that was drawn."""
        return re.findall(r"\r([^\r\n]*)\x1b\[K", self.getvalue())


@pytest.fixture
def redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is drawn, however soon after the last."""
    monkeypatch.setattr("foodstream._bar.REDRAW_SEC", 0)


# Without services


@pytest.mark.usefixtures("redrawn")
def test_a_bar_with_a_total_fills_and_leaves_its_line() -> None:
    terminal = Terminal()
    with ProgressBar(40, unit="orders", file=terminal) as bar:
        for _ in range(4):
            bar(REPORT)
    assert [line.count("#") for line in terminal.lines] == [8, 15, 22, 30, 30]
    assert re.search(r"\] 10 orders, [\d,]+ a second, [\d,]+ s left$", terminal.lines[0])
    assert re.search(r"\] 40 orders, [\d,]+ a second, [\d.]+ s$", terminal.lines[-1])
    assert terminal.getvalue().endswith("\n")
    bar.close()
    bar(REPORT)
    assert terminal.getvalue().count("\n") == 1 and len(terminal.lines) == 5, "closed"


@pytest.mark.usefixtures("redrawn")
def test_a_bar_without_a_total_shows_rows_and_rate() -> None:
    terminal = Terminal()
    ProgressBar(file=terminal)(REPORT)
    assert re.fullmatch(r"10 rows, [\d,]+ a second", terminal.lines[0])


@pytest.mark.usefixtures("redrawn")
def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    ProgressBar(20, file=terminal)(REPORT)
    assert [len(line) for line in terminal.lines] == [19]


def test_a_terminal_is_drawn_on_ten_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 100.05, 100.11, 100.12])
    now = [next(clock)]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    terminal = Terminal()
    bar = ProgressBar(file=terminal)
    for now[0] in clock:
        bar(REPORT)
    assert len(terminal.lines) == 2
    bar.close()
    assert "40 rows" in terminal.lines[-1]


def test_nothing_is_shown_where_nobody_watches_or_nothing_was_done() -> None:
    log, terminal = io.StringIO(), Terminal()
    with ProgressBar(file=log) as bar:
        bar(REPORT)
    with ProgressBar(file=terminal):
        pass
    assert log.getvalue() == terminal.getvalue() == ""


@pytest.mark.usefixtures("redrawn")
@pytest.mark.parametrize("kernel", [True, False])
def test_a_notebook_gets_one_display_without_script(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    displays: list[bool] = []

    class Handle:
        def update(self, page: str) -> None:
            shown.append(page)

    def display(page: str, *, display_id: bool) -> Handle:
        shown.append(page)
        displays.append(display_id)
        return Handle()

    # IPython on a terminal has no kernel, and the line is drawn as without it.
    shell = types.SimpleNamespace(kernel=object()) if kernel else types.SimpleNamespace()
    python = types.ModuleType("IPython")
    page = types.ModuleType("IPython.display")
    vars(page).update(HTML=str, display=display)
    vars(python).update(get_ipython=lambda: shell, display=page)
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    terminal = Terminal()
    with ProgressBar(20, unit="<script>", file=terminal) as bar:
        bar(REPORT)
        bar(REPORT)
    if kernel:
        assert displays == [True] and terminal.getvalue() == ""
        assert [re.findall(r'value="([\d.]+)"', page) for page in shown] == [["0.5000"], ["1.0000"], ["1.0000"]]
        assert not any("<script" in page for page in shown)
    else:
        assert shown == [] and len(terminal.lines) == 3 and "20 <script>," in terminal.lines[-1]


# With services


def insert(pipeline: Any, rows: int) -> None:
    pipeline.database.sql(
        "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)"
        " SELECT 'N', 'R', 'I', 5, 'PLACED' FROM generate_series(1, %s)",
        rows,
    )


@pytest.mark.usefixtures("redrawn")
def test_a_bounded_consumer_knows_how_much_is_to_come(pipeline: Any) -> None:
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 4
    foodstream.Producer(pipeline.config).run(once=True)
    terminal = Terminal()
    behind: list[int] = []
    with foodstream.Consumer(pipeline.config) as consumer, ProgressBar(file=terminal) as bar:

        def watch(progress: dict[str, Any]) -> None:
            behind.append(progress["sources"][0]["metrics"]["offsetsBehindLatest"])
            bar(progress)

        consumer.run(available_now=True, on_progress=watch)
    assert len(behind) > 1 and behind == sorted(behind, reverse=True) and behind[-1] == 0 and behind[0] > 0
    filled = [line.count("#") for line in terminal.lines]
    assert filled == sorted(filled) and 0 < filled[0] < filled[-1] == 30
    # Without bounds nobody knows.
    insert(pipeline, 1)
    foodstream.Producer(pipeline.config).run(once=True)
    with foodstream.Consumer(pipeline.config) as consumer:
        consumer.run(max_batches=1)
        last = consumer.last_progress
    assert last is not None and "metrics" not in last["sources"][0]


def test_for_each_batch_tells_each_commit_in_the_callers_thread(pipeline: Any) -> None:
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 4
    foodstream.Producer(pipeline.config).run(once=True)
    happened: list[Any] = []

    def note(progress: dict[str, Any]) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert consumer.last_progress == progress
        happened.append(progress["numInputRows"])

    with foodstream.Consumer(pipeline.config) as consumer:
        done = consumer.for_each_batch(lambda *given: happened.append(given[1]), available_now=True, on_progress=note)
    told = [what for what in happened if isinstance(what, int)]
    assert sum(told) == done.rows == 10 and done.batches > 1
    # Each function's batch is committed, and told, before the next function is called.
    acted = [what for what in happened if what != 0]
    assert [type(what) for what in acted] == [str, int] * done.batches


def test_an_error_of_on_progress_ends_for_each_batch_and_its_commit_stays(pipeline: Any) -> None:
    foodstream.Producer(pipeline.config).run(once=True)

    def fail(progress: dict[str, Any]) -> None:
        raise ZeroDivisionError(progress["numInputRows"])

    with foodstream.Consumer(pipeline.config) as consumer:
        with pytest.raises(ZeroDivisionError, match="10"):
            consumer.for_each_batch(lambda *_: None, available_now=True, on_progress=fail)
        assert len(foodstream.read(pipeline.config)) == 10
        assert consumer.for_each_batch(lambda *_: None, available_now=True).rows == 0


def test_an_event_producer_tells_all_that_it_sent(purchases: Any) -> None:
    told: list[dict[str, Any]] = []
    with EventProducer(purchases.config) as producer:
        # Longer than a second, after which the first report comes, where the machine keeps up.
        done = producer.run(rate=2_000, timeout=1.5, on_progress=told.append)
        assert producer.last_progress == told[-1] and producer.recent_progress == told
        assert sum(progress["numInputRows"] for progress in told) == done.events > 0
        assert told[0]["sink"]["description"] == f"Kafka[{purchases.config['kafka']['topic_name']}]"
        with pytest.raises(ZeroDivisionError):
            producer.run(max_events=10, rate=math.inf, on_progress=lambda _: 1 // 0)
        assert producer.run(max_events=10, rate=math.inf).events == 10, "it can be used again"


# More than may wait for the caller's thread, so that the run itself waits for it.
COMMITS = 24


@pytest.mark.parametrize("call", ["Producer.run", "Producer.arun", "Consumer.run", "Consumer.for_each_batch"])
def test_close_within_on_progress_ends_the_run_however_many_reports_wait(
    call: str, pipeline: Any, eventually: Callable[..., None]
) -> None:
    name, _, method = call.partition(".")
    insert(pipeline, COMMITS)
    if name == "Consumer":
        foodstream.Producer(pipeline.config).run(once=True)
    pipeline.config["cdc"] |= {"batch_limit": 1, "transaction_max_rows": 1}
    pipeline.config["consumer"]["maxOffsetsPerTrigger"] = 1
    thing = getattr(foodstream, name)(pipeline.config)
    seen: list[int] = []

    def close(_: dict[str, Any]) -> None:
        if not seen and method != "for_each_batch":
            # One is told, sixteen wait, and the run waits with the next.
            eventually(lambda: len(thing.recent_progress) == 18, "reports to wait")
        seen.append(len(thing.recent_progress))
        thing.close()

    def run() -> Any:
        if method == "arun":
            return asyncio.run(thing.arun(on_progress=close))
        given = [lambda *_: None] if method == "for_each_batch" else []
        return getattr(thing, method)(*given, on_progress=close)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run).result(60)
    assert seen and thing.status["message"] == "closed"
    assert done.rows >= sum(progress["numInputRows"] for progress in thing.recent_progress) > 0
    with pytest.raises(foodstream.FoodstreamError, match="closed"):
        thing.run(once=True)
