"""Each kind of fault: injected, held, taken back. A step returns when the fault has ended, recovery or not.

Every wait tends the crew, so that whoever ends meanwhile is noticed and replaced. What is counted as a kill is a
process that ran and is gone: by our signal, by an abort at a failpoint.
"""

import os
import signal
from collections.abc import Callable, Sequence

import psycopg
import topics
from foodstream._stack import process
from foodstream._stack.kafka import Kafka
from foodstream._stack.postgres import Postgres

from torture.crew import AWAY, CONSUMER, FAILED, PRODUCER, Member
from torture.proxy import END_TXN, Proxy
from torture.rig import Rig
from torture.schedule import MOST_CONSUMERS, Fault, Step
from torture.services import take_away

BROKER, POSTMASTER = "broker", "postmaster"
# An armed member comes to its failpoint with its first commits, after it has joined; a starved machine takes long.
REACH_TIMEOUT_SEC = 30.0
# Points of the lake and of what leads to it are the consumer's; all others are passed by the producer.
CONSUMER_POINTS = ("lake::", "consume::", "ingest::", "totals::")
# Of all consumers one publishes totals, so that another passes these points only where it is alone.
LONELY_POINTS = ("totals::",)
# A reply is held for this long: as long as a few polls, and shorter than any time-out.
DELAY_SEC = 0.15
# A broker that is back has its copies in step within seconds; a minute is a broker that does not come.
IN_STEP_TIMEOUT_SEC = 60.0
# How long a zombie that was fenced may take to see it, after SIGCONT.
FENCED_TIMEOUT_SEC = 30.0


class Faults:
    """The hands of the run; ``tend`` is called in every wait."""

    def __init__(self, rig: Rig, tend: Callable[[], None]) -> None:
        self.rig = rig
        self.crew = rig.crew
        self.ledger = rig.ledger
        self.tend = tend
        self._ways: dict[Fault, Callable[[Step], None]] = {
            Fault.KILL_PRODUCER: lambda _: self._kill_producer(),
            Fault.KILL_CONSUMER: lambda step: self._kill_consumer(step),
            Fault.KILL_BOTH: self._kill_both,
            Fault.KILL_BROKER: lambda step: self._restart(self._broker(step), signal.SIGKILL, step.hold_sec),
            Fault.KILL_POSTMASTER: lambda step: self._restart(self._postgres, signal.SIGKILL, step.hold_sec),
            Fault.KILL_AT_FAILPOINT: lambda step: self._failpoint(step, "kill"),
            Fault.ERROR_AT_FAILPOINT: lambda step: self._failpoint(step, ""),
            Fault.STOP_PRODUCER: lambda _: self._stop_producer(),
            Fault.STOP_BROKER: lambda step: self._restart(self._broker(step), signal.SIGTERM, step.hold_sec),
            Fault.RESTART_POSTGRES_FAST: lambda step: self._restart(self._postgres, signal.SIGINT, step.hold_sec),
            Fault.RESTART_POSTGRES_IMMEDIATE: lambda step: self._restart(self._postgres, signal.SIGQUIT, step.hold_sec),
            Fault.PAUSE_PRODUCER: lambda step: self._pause(self.crew.producer, step.hold_sec),
            Fault.PAUSE_CONSUMER: lambda step: self._pause(self._chosen(step), step.hold_sec),
            Fault.PAUSE_BROKER: lambda step: self._pause_service(self._broker(step), step.hold_sec),
            Fault.PAUSE_POSTMASTER: lambda step: self._pause_service(self._postgres, step.hold_sec),
            Fault.ZOMBIE_PRODUCER: lambda _: self._zombie_producer(),
            Fault.TERMINATE_SESSIONS: lambda _: self._terminate_sessions(),
            Fault.JOIN: lambda _: self._join(),
            Fault.LEAVE: self._leave,
            Fault.DELAY_POSTGRES: lambda step: self._delay([rig.to_postgres], step.hold_sec),
            Fault.LOSE_POSTGRES: lambda step: self._lose([rig.to_postgres], step.hold_sec),
            Fault.CUT_POSTGRES: lambda _: _cut([rig.to_postgres]),
            Fault.DELAY_BROKER: lambda step: self._delay(rig.to_brokers, step.hold_sec),
            Fault.LOSE_BROKER: lambda step: self._lose(rig.to_brokers, step.hold_sec),
            Fault.CUT_BROKER: lambda _: _cut(rig.to_brokers),
            Fault.LOSE_END_OF_TRANSACTION: lambda _: self._lose_end_of_transaction(),
            Fault.FULL_DISK: self._full_disk,
            Fault.ROLL_BROKERS: self._roll_brokers,
        }

    def strike(self, step: Step) -> None:
        """Carries out one step and counts it, unless this machine cannot."""
        self._ways[step.fault](step)
        if step.fault.value not in self.ledger.impossible:
            self.ledger.fault(step.fault.value)

    def wait(self, condition: Callable[[], bool], timeout_sec: float) -> bool:
        """Whether the condition came to hold in time; the crew is tended meanwhile."""

        def tended() -> bool:
            self.tend()
            return condition()

        return process.wait_until(tended, timeout_sec)

    def pause(self, seconds: float) -> None:
        """Lets the run go on for that long."""
        self.wait(lambda: False, seconds)

    def found(self, point: str) -> None:
        """A new lake's first consumer is killed at this point, which is passed only where a lake is made."""
        member = self.crew.start(CONSUMER, point)
        if self.wait(member.has_ended, REACH_TIMEOUT_SEC):
            self.ledger.kill(point)
            self.ledger.fault(Fault.KILL_AT_FAILPOINT.value)
        else:
            self.ledger.finds("harness", f"{point} was not reached where a lake is made")
        self.crew.dismiss(member)

    def _chosen(self, step: Step) -> Member:
        consumers = self.crew.consumers
        return consumers[step.chosen % len(consumers)]

    def _kill_producer(self) -> None:
        self.crew.kill(self.crew.producer)
        self.ledger.kill(PRODUCER)
        self.crew.start(PRODUCER)

    def _kill_consumer(self, step: Step) -> None:
        self.crew.kill(self._chosen(step))
        self.ledger.kill(CONSUMER)
        self.crew.start(CONSUMER)

    def _kill_both(self, step: Step) -> None:
        both = (self.crew.producer, self._chosen(step))
        for member in both:
            member.signal(signal.SIGKILL)
        for member in both:
            self.crew.kill(member)
            self.ledger.kill(member.side)
            self.crew.start(member.side)

    def _stop_producer(self) -> None:
        self.crew.ask(self.crew.producer)
        self.crew.start(PRODUCER)

    def _failpoint(self, step: Step, word: str) -> None:
        if not step.point.startswith(CONSUMER_POINTS):
            self.crew.ask(self.crew.producer)
            self._until_reached(self.crew.start(PRODUCER, step.point, step.passes, word), word)
            self.crew.start(PRODUCER)
            return
        leaving: list[Member] = []
        if step.point.startswith(LONELY_POINTS):
            leaving = self.crew.consumers
        elif len(self.crew.consumers) >= MOST_CONSUMERS:
            # A fifth would find no partition left.
            leaving = [self._chosen(step)]
        member = self.crew.start(CONSUMER, step.point, step.passes, word)
        for other in leaving:
            self.crew.ask(other)
        self._until_reached(member, word)
        if not self.crew.consumers:
            for _ in leaving:
                self.crew.start(CONSUMER)

    def _until_reached(self, member: Member, word: str) -> None:
        # A kill is the end of it; an error may be, or it goes on after a new attempt, and says so.
        if self.wait(member.has_ended if word else member.has_failed, REACH_TIMEOUT_SEC):
            if word:
                self.ledger.kill(member.point)
        else:
            self.ledger.finds("harness", f"{member.point} was not reached in {REACH_TIMEOUT_SEC:.0f} s")
        self.crew.dismiss(member)

    def _pause(self, member: Member, seconds: float) -> None:
        member.signal(signal.SIGSTOP)
        self.pause(seconds)
        member.signal(signal.SIGCONT)

    def _pause_service(self, service: Kafka | Postgres, seconds: float) -> None:
        running = service.running
        assert running is not None
        os.kill(running.pid, signal.SIGSTOP)
        self.pause(seconds)
        os.kill(running.pid, signal.SIGCONT)

    def _broker(self, step: Step) -> Kafka:
        nodes = self.rig.stack.nodes
        return nodes[step.chosen % len(nodes)]

    @property
    def _postgres(self) -> Postgres:
        return self.rig.stack.postgres

    def _restart(self, service: Kafka | Postgres, how: signal.Signals, seconds: float) -> None:
        take_away(service, how)
        if how is signal.SIGKILL:
            self.ledger.kill(BROKER if isinstance(service, Kafka) else POSTMASTER)
        self.pause(seconds)
        service.start()

    def _roll_brokers(self, step: Step) -> None:
        """As an operator would: the next one goes when all copies are in step again."""
        for node in self.rig.stack.nodes:
            self._restart(node, signal.SIGKILL if step.chosen % 2 else signal.SIGTERM, step.hold_sec)
            if not self.wait(self._copies_in_step, IN_STEP_TIMEOUT_SEC):
                self.ledger.finds(
                    "harness", f"copies are not in step {IN_STEP_TIMEOUT_SEC:.0f} s after a broker is back"
                )

    def _copies_in_step(self) -> bool:
        copies = len(self.rig.stack.nodes)
        return topics.fewest_in_step(self.rig.stack.brokers, self.rig.topic) == copies

    def _zombie_producer(self) -> None:
        """The first is stopped, a second takes over, the first wakes up: one of them publishes, and it is not it."""
        zombie = self.crew.producer
        # One that is still starting would take over when it wakes up, and rightly: whoever came last may publish.
        if not self.wait(zombie.has_published, REACH_TIMEOUT_SEC):
            self.ledger.finds("alive", f"{zombie.log.name} published nothing in {REACH_TIMEOUT_SEC:.0f} s")
        if zombie not in self.crew.members:
            # It ended by itself in the wait, which is a finding, and another one has its place.
            return
        self.crew.members.remove(zombie)
        try:
            zombie.signal(signal.SIGSTOP)
            before = self._position()
            self.crew.start(PRODUCER)
            if not self.wait(lambda: self._position() != before, REACH_TIMEOUT_SEC):
                self.ledger.finds("alive", "a second producer published nothing while the first was stopped")
            zombie.signal(signal.SIGCONT)
            self._expect_its_end(zombie)
        finally:
            # The crew does not know it any more, and a stopped process would stay for ever.
            zombie.kill()

    def _expect_its_end(self, zombie: Member) -> None:
        if not self.wait(zombie.has_ended, FENCED_TIMEOUT_SEC):
            self.ledger.finds("loud", f"{zombie.log.name} was fenced and did not end")
        elif zombie.child.returncode != FAILED or "another producer" not in process.tail(zombie.log, 20):
            said = process.tail(zombie.log, 5)
            self.ledger.finds("loud", f"{zombie.log.name} was fenced and ended with {zombie.child.returncode}: {said}")

    def _position(self) -> str:
        try:
            return self.rig.state_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _terminate_sessions(self) -> None:
        try:
            self.rig.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'foodstream%%'"
            )
        except psycopg.OperationalError:
            # The server is still coming back from the step before; its sessions are gone anyhow.
            return

    def _join(self) -> None:
        if len(self.crew.consumers) < MOST_CONSUMERS:
            self.crew.start(CONSUMER)

    def _leave(self, step: Step) -> None:
        if len(self.crew.consumers) > 1:
            self.crew.ask(self._chosen(step))

    def _delay(self, proxies: Sequence[Proxy], seconds: float) -> None:
        for proxy in proxies:
            proxy.delay_sec = DELAY_SEC
        self.pause(seconds)
        _heal(proxies)

    def _lose(self, proxies: Sequence[Proxy], seconds: float) -> None:
        for proxy in proxies:
            proxy.lose()
        self.pause(seconds)
        _heal(proxies)

    def _lose_end_of_transaction(self) -> None:
        # One of them leads the coordinator's partition, and only it is asked.
        proxies = self.rig.to_brokers
        for proxy in proxies:
            proxy.lose_reply(END_TXN)
        if not self.wait(lambda: any(proxy.lost.is_set() for proxy in proxies), REACH_TIMEOUT_SEC):
            self.ledger.finds("alive", f"no transaction ended in {REACH_TIMEOUT_SEC:.0f} s")
        _heal(proxies)

    def _full_disk(self, step: Step) -> None:
        disk = self.rig.disk
        if not disk.mounted:
            self.ledger.cannot(step.fault.value, disk.refusal)
            return
        # A consumer that cannot write stops with the code for what may be otherwise later.
        self.crew.forgive(AWAY)
        disk.fill()
        self.pause(step.hold_sec)
        disk.free()
        # One that saw the full disk as its last act has a moment to end.
        self.pause(step.hold_sec)
        self.crew.forgive()


def _cut(proxies: Sequence[Proxy]) -> None:
    for proxy in proxies:
        proxy.cut()


def _heal(proxies: Sequence[Proxy]) -> None:
    for proxy in proxies:
        proxy.heal()
