"""The status page beside a status that a test has changed: states that no short run of a pipeline has.

What is changed is a real status, so that it keeps the shape that the real server gives it.
"""

import http.server
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


class Altered(http.server.ThreadingHTTPServer):
    """The page beside a status that a test has changed, told once a second."""

    daemon_threads = True

    def __init__(self, status: dict[str, Any], page: Path) -> None:
        super().__init__(("127.0.0.1", 0), AlteredAnswers)
        self.status, self.page = status, page

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class AlteredAnswers(http.server.BaseHTTPRequestHandler):
    server: Altered

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status = json.dumps({**self.server.status, "generated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"})
        if path == "/api/events":
            self.answer("text/event-stream", f"event: status\nid: altered-1\ndata: {status}\n\n")
        elif path == "/api/status":
            self.answer("application/json", status)
        else:
            file = self.server.page / (path.removeprefix("/page/").strip("/") or "index.html")
            kind = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
            self.answer(kind[file.suffix], file.read_text(encoding="utf-8"))

    def answer(self, kind: str, content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        pass


def far_behind(status: dict[str, Any]) -> None:
    status["lag"].update(rows_unpublished=10_000, rows_unpublished_at_least=True, unpublished_sec=5_400.0)
    status["lag"].update(messages=10_234_567, readable_sec=2_400.0, seconds=7_800.0)
    for part in status["parts"]:
        rate = {"producer": 50_000.0, "consumer": 80_000.0}[part["role"]]
        part["rates"]["input_rows_per_sec"] = rate


def idle_for_an_hour(status: dict[str, Any]) -> None:
    earlier = f"{datetime.now(UTC) - timedelta(hours=1, minutes=2):%Y-%m-%dT%H:%M:%SZ}"
    status["lag"].update(rows_unpublished=0, messages=0, unpublished_sec=0, readable_sec=0, seconds=0)
    status["lag"]["latency"] = dict.fromkeys(status["lag"]["latency"])
    for part in status["parts"]:
        part["batches"] = []
        part.get("producer", {})["last_row_at"] = earlier
        part.get("consumer", {})["committed_at"] = earlier


def held_back(status: dict[str, Any]) -> None:
    status["lag"].update(rows_unpublished=1_212, rows_held=1_200, rows_held_at_least=False)
    held_by = {"text": "the transaction of pid 4242 (<b>psql</b>), open for 35.1 s", "pid": 4242, "age_sec": 35.1}
    for part in status["parts"]:
        if "producer" in part:
            part["producer"]["horizon"] = {"at": None, "age_sec": 35.1, "held_by": held_by}


def not_looked_at_for_a_while(status: dict[str, Any]) -> None:
    status["lag"].update(rows_unpublished=None, messages=None, unpublished_sec=35.2, readable_sec=8.1, seconds=35.2)


def nothing_known(status: dict[str, Any]) -> None:
    status["lag"] = dict.fromkeys(status["lag"])
    for part in status["parts"]:
        for name in part.keys() - {"id", "role", "self", "state", "pid", "host"}:
            part[name] = None
