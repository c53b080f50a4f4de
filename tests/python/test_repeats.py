"""Events with repeated ids and other faults through a consumer that is killed: each id once, each reason counted."""

import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foodstream
import polars
import topics
from test_validator import CONFIG, event

EVENTS = 20_000
KILLS = 4
COMMITS_BETWEEN_KILLS = 6
SEED = 20260101
FAULTS: dict[str, dict[str, Any]] = {
    "null:customer_id": {"customer_id": None},
    "too_small:quantity": {"quantity": 0},
    "total_mismatch:total_amount": {"total_amount": 284.99},
    "not_one_of:currency": {"currency": "XXX"},
}


def planted() -> tuple[list[tuple[bytes, bytes]], set[str], Counter[str]]:
    """Messages, the ids to be accepted, and the reasons to be found."""
    chance = random.Random(SEED)
    messages: list[tuple[bytes, bytes]] = []
    accepted: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    for number in range(EVENTS):
        made = event(number, customer_id=f"customer_{number % 500}")
        drawn = chance.random()
        if drawn < 0.01:
            reason = chance.choice(list(FAULTS))
            made.update(FAULTS[reason])
            reasons[reason] += 1
        elif drawn < 0.02 and accepted:
            made = chance.choice(accepted)
            reasons["duplicate_id:event_id"] += 1
        else:
            accepted.append(made)
        messages.append((str(made["customer_id"]).encode(), json.dumps(made).encode()))
    return messages, {str(made["event_id"]) for made in accepted}, reasons


def test_each_id_is_accepted_once_whenever_the_consumer_is_killed(
    pipeline: Any, eventually: Callable[..., None]
) -> None:
    pipeline.config.update({name: CONFIG[name] for name in ("validation", "schema")})
    pipeline.config["cdc"].update(CONFIG["cdc"])
    pipeline.config["consumer"] = {"trigger_interval_ms": 50, "maxOffsetsPerTrigger": 200}
    messages, ids, reasons = planted()
    brokers = pipeline.config["kafka"]["brokers"]
    topics.create(brokers, pipeline.topic, partitions=3)
    topics.produce(brokers, pipeline.topic, messages)

    log = Path(pipeline.config["streaming"]["checkpoint_location"]) / "commits"
    for kill in range(1, KILLS + 1):
        stream = pipeline.start("consumer")
        commits = kill * COMMITS_BETWEEN_KILLS
        eventually(lambda commits=commits: len(list(log.glob("*/*.json"))) > commits, f"commit {commits}")
        stream.send_signal(signal.SIGKILL)
        assert stream.wait(30) == -signal.SIGKILL
    assert len(list(log.glob("*/*.json"))) * 200 < EVENTS, "the kills came too late to show anything"
    pipeline.report("consumer", "--once")

    found = polars.DataFrame(foodstream.read(pipeline.config))["event_id"].to_list()
    assert len(found) == len(ids)
    assert set(found) == ids
    report = pipeline.report("purchases report")
    assert report["by_reason_and_column"] == reasons
    assert (report["input"], report["accepted"], report["rejected"]) == (EVENTS, len(ids), reasons.total())
    assert report["first_event"] == report["last_event"] == "2024-01-15T10:30:45.123Z"
    told = pipeline.run("purchases report").stdout
    assert "duplicate_id:event_id" in told
