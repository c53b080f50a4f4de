"""A configuration over services that nobody offers, for what must work, or fail, without them."""

from pathlib import Path
from typing import Any

# Looked for where no secret may be shown.
SECRET = "s3cret-canary"


def settings(folder: Path, **kafka: Any) -> dict[str, Any]:
    return {
        "postgres": {
            "host": "127.0.0.1",
            "port": 1,
            "db": "food",
            "user": "student",
            "password": SECRET,
            "table": "orders",
        },
        "kafka": {"brokers": "127.0.0.1:1", "topic": "orders_raw", **kafka},
        "streaming": {
            "checkpoint_location": str(folder / "checkpoints"),
            "last_processed_timestamp_location": str(folder / "lastprocess"),
        },
        "datalake": {"path": str(folder / "lake")},
        "retry": {"start_timeout_sec": 1},
    }
