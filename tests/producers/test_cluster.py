"""Every step of the queue on one node with `cluster-enabled yes` that owns all slots, where a step that leaves its slot
is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from uuid import UUID

import pytest
import redis

from penstock.producers.queue.enqueueing import Offer
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.records import JobRecords, JobState
from penstock.producers.queue.scripts import Scripts, script
from penstock.producers.queue.tallies import Tallies
from penstock.workers.broker.leases import Leases, Verb, new_boot_id
from penstock.workers.dead_letters.unarchived import Unarchived
from penstock.workers.protection.changes import announce_change
from penstock.workers.protection.waking import wake_held
from penstock.workers.queues.control import QueueControl
from penstock.workers.reconcile.reconciliation import Reconciliation
from tests.queue_kit import QueueKit, new_job
from tests.recovery.servers import OwnValkey

#: What steps begin with, and what they share.
NO_STEPS = {"archive", "deaths", "held", "history", "lanes", "moves", "prelude", "room"}
NAMES = sorted(
    file.name.removesuffix(".lua")
    for file in (resources.files("penstock.producers.queue") / "lua").iterdir()
    if file.name.endswith(".lua") and file.name.removesuffix(".lua") not in NO_STEPS
)


@pytest.fixture(scope="module")
def node() -> Iterator[OwnValkey]:
    with OwnValkey(appendfsync="no", cluster=True) as server:
        yield server


@pytest.fixture
def kit(node: OwnValkey) -> QueueKit:
    client = node.client()
    client.flushall()
    return QueueKit(client, "on-a-cluster")


def live(kit: QueueKit) -> None:
    """Jobs that go every way that a job can go."""
    made = kit.one_of_each()
    inspector = QueueInspector(kit.client, kit.namespace)
    assert inspector.counts(kit.queue).unaccounted == 0
    assert Tallies(kit.client, kit.namespace).runnable(kit.queue, timedelta(seconds=1)).leased == 1
    assert inspector.find(made["parked"]) is not None
    assert inspector.locate(kit.queue, str(made["dead"]), twice=True)
    for state in (JobState.READY, JobState.SCHEDULED, JobState.LEASED, JobState.PARKED, JobState.DEAD):
        assert len(inspector.peek(kit.queue, state).jobs) == 1
    assert Reconciliation(kit.client, kit.namespace, None).run().clean
    assert kit.leases.release(kit.queue, "kind:x", 1) == (1, 0)
    assert set(JobRecords(kit.client, kit.namespace).read(list(made.values()))) == set(made.values())
    (again, *_) = kit.lease(10)
    kit.settle([again], Verb.RETRY, delay=0, code="STORAGE_TIMEOUT", told="it took too long", entry="{}")
    kit.leases.tick(kit.queue)


def recover(kit: QueueKit) -> None:
    """A worker is lost and another one takes over its job."""
    lost = Leases(kit.client, kit.namespace, new_boot_id(), timedelta(milliseconds=1))
    lost.join(kit.queue)
    kit.put()
    (job,) = lost.lease(kit.queue, 1, lost.next_request(kit.queue)).jobs
    assert lost.start(job)
    assert lost.leave(kit.queue) == 1
    assert kit.leases.tick(kit.queue).recovered == 1
    (suspect,) = kit.lease()
    assert kit.leases.start(suspect)
    kit.settle([suspect], Verb.ACK)


def operate(kit: QueueKit) -> None:
    """An operator pauses, purges and resumes."""
    control = QueueControl(kit.client, kit.namespace, "tester")
    kit.put(3)
    assert control.pause(kit.queue, "a test")
    assert control.purge(kit.queue, "a test") == 3
    assert control.resume(kit.queue, "a test")
    assert control.weigh(kit.queue, "acme", 3, "a test")
    announce_change(kit.client, kit.namespace)
    kit.put()
    kit.settle(kit.lease(), Verb.POSTPONE, delay=60_000, blocked_by="limit:k")
    assert wake_held(kit.client, kit.namespace, lambda blocked_by: blocked_by == "limit:k") == 1


def archive(kit: QueueKit) -> None:
    """A dead letter goes to PostgreSQL, and its job is called back from there."""
    kit.one_of_each()
    unarchived = Unarchived(kit.client, kit.namespace)
    deaths = [death for death in unarchived.read(unarchived.oldest(kit.queue, 10, lambda _: False), 1_000) if death]
    assert unarchived.let_go(kit.queue, deaths, (1, unarchived.archived(kit.queue))) == 1
    digest = kit.client.hget(kit.keys.job(deaths[0].member.decode()), "digest")
    job = replace(new_job(), job_id=UUID(deaths[0].member.decode()), digest=digest.decode())
    (told,) = kit.enqueuer.enqueue(kit.queue, [job], revive=[JobState.DEAD])
    assert told.offer is Offer.REVIVED
    revived = kit.client.hgetall(kit.keys.key("revived"))
    noted = [part for pair in revived.items() for part in pair]
    assert Scripts(kit.client).run("revived", kit.keys, *noted) == len(revived) == 1


@pytest.mark.parametrize("way", [live, recover, operate, archive])
def test_a_way_of_jobs_keeps_to_its_slot(kit: QueueKit, way: Callable[[QueueKit], None]) -> None:
    way(kit)
    assert QueueInspector(kit.client, kit.namespace).counts(kit.queue).unaccounted == 0


def test_no_step_was_left_out(kit: QueueKit) -> None:
    """The node itself tells which scripts it has run: a new step must be driven by one of the ways above."""
    kit.client.script_flush()
    for way in (live, recover, operate, archive):
        kit.client.flushall()
        way(kit)
    run = kit.client.script_exists(*(script(name).sha for name in NAMES))
    assert [name for name, was_run in zip(NAMES, run, strict=True) if not was_run] == []


def test_a_step_that_leaves_its_slot_is_refused(node: OwnValkey) -> None:
    """The control: the node does look."""
    source = "#!lua\nredis.call('SET', KEYS[1], '1')\nreturn redis.call('SET', 'elsewhere', '1')"
    with pytest.raises(redis.ResponseError, match="slot"):
        node.client().eval(source, 1, "on-a-cluster:{posts}")
