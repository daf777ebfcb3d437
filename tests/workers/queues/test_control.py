"""Pause, resume and purge: what they change, what they never touch, and that each stands in the audit."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock.producers.queue.audit import OperatorAction
from penstock.producers.queue.enqueueing import Offer
from penstock.workers.broker.leases import Verb
from penstock.workers.queues.control import PURGE_STEP, Purgeable, QueueControl
from penstock.workers.reconcile.reconciliation import Reconciliation
from tests.queue_kit import QueueKit, new_job, open_kit


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def control(kit: QueueKit) -> QueueControl:
    return QueueControl(kit.client, kit.namespace, "ada")


def audit(kit: QueueKit) -> list[dict[str, Any]]:
    return [json.loads(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1)]


def places(kit: QueueKit) -> dict[str, int]:
    counts = kit.inspector.counts(kit.queue)
    assert counts.unaccounted == 0
    return {place: getattr(counts, place) for place in ("ready", "scheduled", "leased", "parked", "dead")}


def test_a_paused_queue_gives_no_job_and_takes_jobs_in(kit: QueueKit, control: QueueControl) -> None:
    kit.put()
    (held,) = kit.lease()
    assert control.pause(kit.queue, "deploy")
    (waiting,) = kit.put()
    assert kit.lease(10) == []
    kit.settle([held], Verb.ACK)
    assert control.resume(kit.queue, "deployed")
    assert [job.job_id for job in kit.lease(10)] == [str(waiting)]


def test_a_second_pause_or_resume_changes_nothing(kit: QueueKit, control: QueueControl) -> None:
    assert not control.resume(kit.queue, "nothing to resume")
    assert control.pause(kit.queue, "first")
    assert not QueueControl(kit.client, kit.namespace, "bob").pause(kit.queue, "second")
    paused = kit.inspector.counts(kit.queue).paused
    assert paused is not None
    assert (paused.by, paused.reason) == ("ada", "first")
    assert control.resume(kit.queue, "done")
    assert not control.resume(kit.queue, "done")
    assert kit.inspector.counts(kit.queue).paused is None
    # What changed nothing is no action.
    assert [entry["action"] for entry in audit(kit)] == ["queue.pause", "queue.resume"]


def test_each_change_is_audited_as_the_archive_reads_it(kit: QueueKit, control: QueueControl) -> None:
    control.pause(kit.queue, "Grüße an alle")
    control.purge(kit.queue, "sent by mistake", Purgeable.READY, "acme")
    pause, purge = (OperatorAction.decode(entry) for entry in kit.client.lrange(kit.keys.key("audit"), 0, -1))
    assert (pause.actor, pause.action, pause.target, pause.reason) == ("ada", "queue.pause", "posts", "Grüße an alle")
    assert (purge.action, dict(purge.details)) == ("queue.purge", {"state": "ready", "tenant": "acme"})
    assert pause.action_id != purge.action_id


@pytest.mark.parametrize("state", Purgeable)
def test_a_purge_of_one_state_leaves_the_others(kit: QueueKit, control: QueueControl, state: Purgeable) -> None:
    kit.one_of_each()
    assert control.purge(kit.queue, "mistake", state) == 1
    assert places(kit) == {"ready": 1, "scheduled": 1, "leased": 1, "parked": 1, "dead": 1} | {state: 0}
    assert kit.inspector.counts(kit.queue).purged == 1
    assert Reconciliation(kit.client, kit.namespace, None).run().clean


def test_a_purge_of_all_leaves_the_dead_and_the_leased(kit: QueueKit, control: QueueControl) -> None:
    made = kit.one_of_each()
    assert control.purge(kit.queue, "mistake") == 3
    assert places(kit) == {"ready": 0, "scheduled": 0, "leased": 1, "parked": 0, "dead": 1}
    assert kit.inspector.find(made["ready"]) is None
    assert kit.inspector.find(made["dead"]) is not None
    assert len(audit(kit)) == 1


def test_a_purge_of_a_tenant_leaves_the_others(kit: QueueKit, control: QueueControl) -> None:
    kit.put(3, "a")
    kept = kit.put(2, "b")
    kit.put(2, "a", due=timedelta(hours=1))
    kit.put(1, "b", due=timedelta(hours=1))
    assert control.purge(kit.queue, "mistake", tenant="a") == 5
    assert places(kit) == {"ready": 2, "scheduled": 1, "leased": 0, "parked": 0, "dead": 0}
    assert {job.job_id for job in kit.lease(10)} <= {str(job) for job in kept}


@pytest.mark.parametrize("due", [None, timedelta(hours=1)])
def test_a_purge_goes_on_until_nothing_is_left(kit: QueueKit, control: QueueControl, due: timedelta | None) -> None:
    count = 2 * PURGE_STEP + 7
    for tenant in ("a", "b", "c"):
        kit.put(count // 3, tenant, due=due)
    kit.put(count - 3 * (count // 3), "d", due=due)
    assert control.purge(kit.queue, "mistake") == count
    assert sum(places(kit).values()) == 0
    assert len(audit(kit)) == 1


def test_a_purged_job_can_be_sent_again(kit: QueueKit, control: QueueControl) -> None:
    job = new_job()
    kit.enqueuer.enqueue(kit.queue, [job])
    control.purge(kit.queue, "mistake")
    assert kit.inspector.find(job.job_id) is None
    assert [answer.offer for answer in kit.enqueuer.enqueue(kit.queue, [job])] == [Offer.ACCEPTED]
    assert places(kit)["ready"] == 1
