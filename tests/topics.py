"""Topics seen past the product: messages put there as a stranger would, read back, and deleted under a consumer."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from foodstream._stack import process

TIMEOUT_SEC = 30.0
READ_AT_ONCE = 10_000
# `consume` waits for all of them or for this long: the end of a partition is seen only then.
READ_TIMEOUT_SEC = 0.2
# What a broker says between its start and the moment it leads its partitions again.
NO_LEADER_YET = {"UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH", "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE"}


@dataclass(frozen=True)
class Message:
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def create(brokers: str, topic: str, partitions: int = 1, **config: str) -> None:
    admin = AdminClient(_client(brokers))  # its answers end with it
    for created in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
        created.result(TIMEOUT_SEC)


def configure(brokers: str, topic: str, **config: str) -> None:
    """Set settings of a topic, with underscores for their dots."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient(_client(brokers))
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(TIMEOUT_SEC)


def delete(brokers: str, topic: str) -> None:
    admin = AdminClient(_client(brokers))
    for deleted in admin.delete_topics([topic]).values():
        deleted.result(TIMEOUT_SEC)
    assert process.wait_until(lambda: topic not in names(brokers), TIMEOUT_SEC)


def names(brokers: str) -> set[str]:
    return set(AdminClient(_client(brokers)).list_topics(timeout=TIMEOUT_SEC).topics)


def produce(brokers: str, topic: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> list[Message]:
    """Put key and value on the topic, in this order if it has one partition; returns where they are."""
    placed: list[Message] = []

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        placed.append(Message(message.partition(), message.offset(), message.key(), message.value()))

    producer = Producer({**_client(brokers), "message.max.bytes": 4 << 20})
    for key, value in messages:
        producer.produce(topic, key=key, value=value, on_delivery=delivered)
    assert producer.flush(TIMEOUT_SEC) == 0
    return placed


def read(brokers: str, topic: str) -> list[Message]:
    """Every committed message of the topic, up to its ends of this moment."""
    return list(each(brokers, topic))


def each(brokers: str, topic: str) -> Iterator[Message]:
    """Every committed message of the topic, up to its ends of this moment, one after the other."""
    consumer = Consumer(
        {
            **_client(brokers),
            "group.id": f"{topic}-read-back",
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        ends = bounds(brokers, topic)
        consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in ends.items()])
        waited = 0.0
        open_partitions = {partition for partition, (first, end) in ends.items() if end > first}
        while open_partitions:
            # Many at once, or the calls would take longer than the reading.
            messages = consumer.consume(READ_AT_ONCE, READ_TIMEOUT_SEC)
            waited = 0.0 if messages else waited + READ_TIMEOUT_SEC
            assert waited < TIMEOUT_SEC, f"nothing more came from partitions {open_partitions} of {topic}"
            for message in messages:
                partition, offset, error = message.partition(), message.offset(), message.error()
                assert partition is not None and offset is not None
                if error is None:
                    yield Message(partition, offset, message.key(), message.value())
                elif error.name() == "_PARTITION_EOF":
                    # Of committed records: an open transaction would end it early, and the caller would see the gap.
                    open_partitions.discard(partition)
                else:
                    raise AssertionError(str(error))
    finally:
        consumer.close()


def has_group(brokers: str, group: str) -> bool:
    """Whether the cluster knows a group of this name, with members or with offsets."""
    admin = AdminClient(_client(brokers))
    listed = admin.list_consumer_groups(request_timeout=TIMEOUT_SEC).result(TIMEOUT_SEC)
    assert not listed.errors, listed.errors
    return group in {known.group_id for known in listed.valid}


def bounds(brokers: str, topic: str) -> dict[int, tuple[int, int]]:
    """First and end offset of each partition, open transactions counted in; asks again while a leader is elected."""
    found: dict[int, tuple[int, int]] = {}

    def is_answered() -> bool:
        try:
            found.update(_bounds(brokers, topic))
        except KafkaException as error:
            if error.args[0].name() not in NO_LEADER_YET:
                raise
            return False
        return True

    assert process.wait_until(is_answered, TIMEOUT_SEC), f"no broker leads {topic}"
    return found


def _bounds(brokers: str, topic: str) -> dict[int, tuple[int, int]]:
    admin = AdminClient(_client(brokers))
    partitions = admin.list_topics(topic, timeout=TIMEOUT_SEC).topics[topic].partitions
    found: dict[int, list[int]] = {partition: [] for partition in partitions}
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        asked = {TopicPartition(topic, partition): spec for partition in partitions}
        for place, answer in admin.list_offsets(asked, request_timeout=TIMEOUT_SEC).items():
            found[place.partition].append(answer.result(TIMEOUT_SEC).offset)
    return {partition: (first, end) for partition, (first, end) in found.items()}


def fewest_in_step(brokers: str, topic: str) -> int:
    """How many copies are in step, of the partition of the topic with the fewest; 0 if no broker says."""
    try:
        partitions = AdminClient(_client(brokers)).list_topics(topic, timeout=TIMEOUT_SEC).topics[topic].partitions
    except KafkaException:
        return 0
    return min((len(partition.isrs) for partition in partitions.values()), default=0)


def delete_before(brokers: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete records as retention would."""
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    admin = AdminClient(_client(brokers))
    for deleted in admin.delete_records(places).values():
        deleted.result(TIMEOUT_SEC)


def _client(brokers: str) -> dict[str, Any]:
    return {"bootstrap.servers": brokers, "log_level": 3}
