"""The status server beside a running pipeline: what it shows is right, and nothing done to it reaches the pipeline."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foodstream
import pytest
import topics
from conftest import ROOT, Pipeline
from foodstream._stack import ports
from foodstream._stack.kafka import Kafka, new_cluster_id
from prometheus_client.parser import text_string_to_metric_families

INSERT = (
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'A', 'B', 'C', 9.5, 'PLACED' FROM generate_series(1, %s)"
)
VIEWERS = 200
# A client tries a broker that was away every ten seconds, and a broker takes some to start.
BACK_SEC = 90
TOKEN = "only-for-this-test-0123456789"
PAGE = re.compile(r"status page: (http://\S+/)")


def url_of(pipeline: Pipeline, log: str, eventually: Callable[..., None]) -> str:
    """Where a started command says that its page is."""
    path = pipeline.folder / log
    eventually(lambda: PAGE.search(path.read_text(encoding="utf-8")) is not None, f"the page's address in {log}")
    found = PAGE.search(path.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def ask(url: str, path: str, token: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def status(url: str) -> dict[str, Any]:
    code, text = ask(url, "api/status")
    assert code == 200, text
    shown: dict[str, Any] = json.loads(text)
    return shown


def part(shown: dict[str, Any], role: str) -> dict[str, Any]:
    """The last part of this role; empty where there is none."""
    return next((found for found in reversed(shown["parts"]) if found["role"] == role), {})


Metric = tuple[str, frozenset[str]]


def documented(role: str) -> dict[str, Metric]:
    """Metrics of a role as docs/STATUS.md lists them: name to type and labels."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \|([\w, ]*)\| ([PCG ]+) \|", (ROOT / "docs" / "STATUS.md").read_text("utf-8"), re.M
    )
    return {
        name: (kind, frozenset(label.strip() for label in labels.split(",") if label.strip()))
        for name, kind, labels, roles in rows
        if role in roles.split()
    }


def exposed(url: str) -> dict[str, Metric]:
    code, text = ask(url, "metrics")
    assert code == 200
    assert text.endswith("\n")
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le", "quantile"}
        assert name not in found, f"{name} comes twice"
        assert family.documentation, name
        found[name] = (family.type, frozenset(labels))
    return found


def value(url: str, name: str, **labels: str) -> float | None:
    families = text_string_to_metric_families(ask(url, "metrics")[1])
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return next((found.value for found in samples if labels.items() <= found.labels.items()), None)


def test_the_server_shows_the_pipeline_and_no_viewer_reaches_it(
    pipeline: Pipeline, eventually: Callable[..., None]
) -> None:
    pipeline.database.sql(INSERT, 500)
    rows = pipeline.database.count()
    pipeline.start("producer", "--status-port", "0")
    consumer = pipeline.start("consumer", "--status-port", "0")
    at_producer = url_of(pipeline, "producer-1.log", eventually)
    at_consumer = url_of(pipeline, "consumer-2.log", eventually)

    eventually(
        lambda: part(status(at_producer), "consumer").get("totals", {}).get("accepted") == rows,
        "the consumer's rows, shown by the producer",
    )
    # Control records behind the rows are committed a moment later.
    eventually(lambda: part(status(at_producer), "consumer")["consumer"]["messages_behind"] == 0, "nothing behind")
    eventually(lambda: status(at_producer)["health"]["state"] == "ok", "a healthy pipeline")
    shown = status(at_producer)
    assert [found["role"] for found in shown["parts"]] == ["producer", "consumer"]
    # The same, seen from the other side.
    assert part(status(at_consumer), "producer")["producer"]["cursor"] == part(shown, "producer")["producer"]["cursor"]
    lake = part(shown, "consumer")["consumer"]
    assert sum(found["committed"] for found in lake["partitions"]) >= rows
    files = len(list(pipeline.lake.glob("date=*/*.parquet")))
    eventually(lambda: part(status(at_consumer), "consumer")["consumer"]["lake_totals"]["files"] == files, "the files")
    reports = json.loads(ask(at_producer, "api/progress")[1])
    assert {report["role"] for report in reports} == {"producer", "consumer"}
    assert sum(report["sink"]["numOutputRows"] for report in reports if report["role"] == "consumer") == rows
    events = [report["eventTime"] for report in reports if report["numInputRows"]]
    assert all(times["min"] <= times["avg"] <= times["max"] for times in events)
    assert any(times["min"] < times["avg"] < times["max"] for times in events)
    newest = [found["newest_at"] for found in lake["partitions"] if found["committed"]]
    assert newest and all(newest), "each partition that was read knows its newest message"
    eventually(
        lambda: newest_events(part(status(at_producer), "consumer"))[-1:] == [lake["readable_to"]],
        "the newest row of the newest date",
    )
    text = ask(at_producer, "api/status")[1]
    assert "student123" not in text
    eventually(lambda: ask(at_consumer, "readyz")[0] == 200, "the consumer is ready")
    assert value(at_consumer, "foodstream_row_latency_seconds", stage="source_to_readable", quantile="0.5") is not None
    assert value(at_producer, "foodstream_lag_seconds", stage="published") == 0

    # Viewers that read nothing, and many that do, while rows flow.
    sockets = [viewer(at_producer) for _ in range(VIEWERS)] + [viewer(at_consumer)]
    try:
        for _ in range(5):
            pipeline.database.sql(INSERT, 1_000)
        rows += 5_000
        eventually(lambda: part(status(at_producer), "consumer")["totals"]["accepted"] == rows, "all rows in the lake")
        assert value(at_producer, "foodstream_status_viewers") == VIEWERS
        for connection in sockets:
            assert b"event: status" in first_bytes(connection)
    finally:
        for connection in sockets:
            connection.close()
    eventually(lambda: value(at_producer, "foodstream_status_viewers") == 0, "the viewers that left")

    consumer.send_signal(signal.SIGKILL)
    eventually(lambda: status(at_producer)["health"]["state"] == "down", "the killed consumer is down")
    killed = part(status(at_producer), "consumer")
    assert (killed["state"], killed["totals"]["accepted"]) == ("down", rows), "what was known last stays"

    again = pipeline.start("consumer", "--status-port", "0")
    eventually(lambda: status(at_producer)["health"]["state"] == "ok", "the restarted consumer mends it")
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0
    eventually(lambda: part(status(at_producer), "consumer").get("state") == "ended", "a clean end is no fault")
    assert [path.name.split("-")[0] for path in status_folder(pipeline).glob("*.json")] == ["producer"]


def newest_events(consumer: dict[str, Any]) -> list[str | None]:
    return [found["newest_event"] for found in consumer["consumer"]["lake_partitions"]]


def test_every_metric_is_documented_and_every_documented_one_is_there(
    pipeline: Pipeline, eventually: Callable[..., None]
) -> None:
    events = f"{pipeline.topic}_events"
    topics.create(pipeline.database.services.brokers, events)
    pipeline.database.sql(INSERT, 5)
    pipeline.database.sql("ALTER TABLE orders DROP CONSTRAINT orders_order_status_check")
    pipeline.database.sql("UPDATE orders SET order_status = 'LOST' WHERE order_id = (SELECT min(order_id) FROM orders)")
    pipeline.start("producer", "--status-port", "0")
    pipeline.start("consumer", "--status-port", "0")
    pipeline.start("purchases produce", "--status-port", "0", "--set", f"kafka.topic={events}")
    names = {"P": "producer-1.log", "C": "consumer-2.log", "G": "purchases produce-3.log"}
    urls = {role: url_of(pipeline, log, eventually) for role, log in names.items()}
    for role, url in urls.items():
        wanted = documented(role)
        assert wanted, "the document's table was not found"
        # Labels of a metric show once there is a sample of it.
        eventually(lambda url=url, wanted=wanted: shape(exposed(url), wanted) == wanted, f"the metrics of role {role}")
        assert exposed(url) == wanted
    sample = part(status(urls["C"]), "consumer")["consumer"]["rejects"]["by_reason"]
    assert [(found["reason"], found["column"], found["count"]) for found in sample] == [
        ("unknown_status", "order_status", 1)
    ]
    assert re.fullmatch(r"[xX9\W_]+", sample[0]["sample"]), "letters and digits are hidden"


def shape(found: dict[str, Metric], wanted: dict[str, Metric]) -> dict[str, Metric]:
    return {name: found[name] for name in found if name in wanted}


def test_a_wrong_token_is_refused_and_a_taken_port_is_one_warning(
    pipeline: Pipeline, eventually: Callable[..., None]
) -> None:
    refused = pipeline.run("producer", "--set", "status.host=0.0.0.0", expect=2)
    assert "status.token" in refused.stderr, refused.stderr
    pipeline.config["status"] = {"host": "0.0.0.0", "port": 0, "token": TOKEN}
    pipeline.start("producer")
    url = url_of(pipeline, "producer-1.log", eventually)
    assert ask(url, "api/status")[0] == 401
    assert ask(url, "metrics", "another-token-0123456789")[0] == 401
    assert ask(url, "healthz")[0] == 200
    code, text = ask(url, "api/status", TOKEN)
    assert (code, TOKEN in text) == (200, False)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        pipeline.config["status"] = {"port": int(port)}
        pipeline.database.sql(INSERT, 3)
        done = pipeline.run("consumer", "--once")
    warnings = [line for line in done.stderr.splitlines() if " WARN " in line and "status page" in line]
    assert len(warnings) == 1, done.stderr
    assert f"port {port} of 127.0.0.1 is taken" in warnings[0]
    assert "] status page:" not in done.stderr


def test_a_library_opens_no_port_unless_the_configuration_says_so(pipeline: Pipeline) -> None:
    pipeline.database.sql(INSERT, 3)
    with foodstream.Producer(pipeline.config) as producer:
        producer.poll()
        assert "url" not in producer.status
    pipeline.config["status"] = {"enabled": True, "port": 0}
    with foodstream.Producer(pipeline.config) as producer:
        assert "url" not in producer.status, "not before it has something to show"
        producer.poll()
        url = str(producer.status["url"])
        assert part(status(url), "producer")["producer"]["topic"] == pipeline.topic
        assert len(list(status_folder(pipeline).glob("*.json"))) == 1
    with pytest.raises(urllib.error.URLError):
        ask(url, "healthz")
    assert not status_folder(pipeline).exists()


def test_a_look_at_the_table_that_hangs_is_no_lag_of_zero(pipeline: Pipeline, eventually: Callable[..., None]) -> None:
    pipeline.start("producer", "--status-port", "0")
    url = url_of(pipeline, "producer-1.log", eventually)

    def lag() -> float | None:
        return value(url, "foodstream_lag_seconds", stage="published")

    eventually(lambda: lag() == 0, "a table without a row that waits")
    assert value(url, "foodstream_unpublished_rows") == 0
    with pipeline.database.connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        eventually(lambda: (lag() or 0) > 3, "a lag that grows while the table cannot be read")
        assert value(url, "foodstream_unpublished_rows") is None
        assert part(status(url), "producer")["producer"]["unpublished"]["rows"] is None
    eventually(lambda: lag() == 0, "the table to be read again")


def test_a_kafka_that_is_away_is_no_lag_of_zero(
    pipeline: Pipeline, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    port = ports.spare(set())
    broker = Kafka(tmp_path / "kafka", port, ports.spare({port}), new_cluster_id())
    broker.start()
    try:
        # The group's session lasts longer than Kafka is away: without partitions there is nothing to be wrong about.
        pipeline.config["kafka"] |= {"brokers": broker.address, "consumer": {"session.timeout.ms": 240_000}}
        # The first batch is committed at once, and what comes after it is not within this test.
        pipeline.config["consumer"]["trigger_interval_ms"] = 3_600_000
        pipeline.config["status"] = {"port": 0}
        pipeline.database.sql("DELETE FROM orders")
        pipeline.start("consumer")
        url = url_of(pipeline, "consumer-1.log", eventually)

        def publish_one() -> None:
            pipeline.database.sql(INSERT, 1)
            pipeline.run("producer", "--once")

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = part(status(url), "consumer").get("consumer", {})
            return found

        def behind(partitions: set[int]) -> set[float | None]:
            return {value(url, "foodstream_lag_messages", partition=str(partition)) for partition in partitions}

        def lag() -> float | None:
            return value(url, "foodstream_lag_seconds", stage="readable")

        def is_up() -> bool:
            return value(url, "foodstream_service_up", service="kafka") == 1

        eventually(lambda: shown().get("messages_behind") == 0 and lag() == 0, "a topic without an unread message")
        publish_one()
        eventually(lambda: part(status(url), "consumer")["totals"]["accepted"] == 1, "a row that is readable")
        publish_one()
        eventually(lambda: shown()["open_batch_messages"] == 1 and (lag() or 0) > 0, "a row that waits")
        idle = {found["partition"] for found in shown()["partitions"] if found["end"] == 0}
        assert idle and behind(idle) == {0}

        def no_zero() -> bool:
            """That row waits, whatever happens to Kafka."""
            whole = status(url)
            own = part(whole, "consumer")
            told = [lag(), own["lag_sec"], own["consumer"]["readable_sec"], own["consumer"]["messages_behind"]]
            told += [whole["lag"][name] for name in ("seconds", "readable_sec", "messages")]
            assert 0 not in told, own
            return True

        def is_unknown() -> bool:
            """Of the other partitions nobody says any more that nothing waits there."""
            assert all(found["assigned"] for found in shown()["partitions"])
            return behind(idle) == {None}

        assert no_zero()
        broker.stop()
        eventually(lambda: no_zero() and not is_up() and is_unknown(), "no count where nobody knows the end")
        broker.start()
        eventually(lambda: no_zero() and is_up() and behind(idle) == {0}, "the topic's end to be heard again", BACK_SEC)
    finally:
        broker.stop()


def test_a_run_of_a_library_that_fails_is_shown_with_its_message_and_leaves_word(
    pipeline: Pipeline, eventually: Callable[..., None]
) -> None:
    pipeline.config["status"] = {"enabled": True, "port": 0}
    pipeline.database.sql("ALTER TABLE orders RENAME TO elsewhere")
    with foodstream.Producer(pipeline.config) as producer:
        with pytest.raises(foodstream.FoodstreamError) as raised:
            producer.run(once=True)
        url = str(producer.status["url"])
        failed = part(status(url), "producer")
        assert (failed["state"], failed["state_text"]) == ("failed", str(raised.value))
        assert [reason["code"] for reason in json.loads(ask(url, "readyz")[1])["reasons"]] == ["failed"]
        pipeline.database.sql("ALTER TABLE elsewhere RENAME TO orders")
        assert producer.run(once=True).rows == 10
        assert part(status(url), "producer")["state"] == "running"
    assert not status_folder(pipeline).exists(), "it ended well"

    def refuse(_batch: foodstream.Batch, _batch_id: str) -> None:
        raise ValueError("Alice Smith")

    with foodstream.Consumer(pipeline.config) as consumer:
        with pytest.raises(ValueError, match="Alice"):
            consumer.for_each_batch(refuse, once=True)
        refused = part(status(str(consumer.status["url"])), "consumer")
        words = "a function that it called raised ValueError"
        assert (refused["state"], refused["state_text"]) == ("failed", words), "and nothing of a row"
    pipeline.config["status"] = {"port": 0}
    pipeline.start("producer")
    shown = status(url_of(pipeline, "producer-1.log", eventually))
    assert (part(shown, "consumer")["state"], part(shown, "consumer")["state_text"]) == ("failed", words)
    assert shown["health"]["state"] == "down"
    assert pipeline.run("consumer", "--once").returncode == 0
    log = (pipeline.folder / "producer-1.log").read_text(encoding="utf-8")
    assert "another consumer" not in log, "a consumer's end is no word about a producer"


def viewer(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def first_bytes(connection: socket.socket) -> bytes:
    """What a viewer was sent, as far as it holds the first state; it has read nothing before."""
    text = b""
    while b"event: status" not in text:
        more = connection.recv(65_536)
        if not more:
            break
        text += more
    return text


def status_folder(pipeline: Pipeline) -> Path:
    checkpoint = Path(pipeline.config["streaming"]["checkpoint_location"])
    return checkpoint.with_name(checkpoint.name + "_status")
