"""Plain dramatiq actors on Penstock's queue."""

import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import CurrentMessage, Pipelines

from penstock.producers import JobState
from penstock.producers.queue.connection import connect
from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.delivery import job_id_of
from tests.system import wait_for
from tests.workers.broker.conftest import QUEUE, Floor, Play, message


def test_an_actor_runs_and_its_job_is_done(floor: Floor, play: Play) -> None:
    stage = play()
    seen: list[Any] = []
    actor = stage.actor(lambda *args, **kwargs: seen.append((args, kwargs)), actor_name="add")
    stage.worker.start()
    message = actor.send(1, "é", key=[None])
    stage.join()
    assert seen == [((1, "é"), {"key": [None]})]
    assert floor.ended(job_id_of(message)).state == "done"


def test_messages_run_in_order(play: Play) -> None:
    stage = play()
    seen: list[int] = []
    stage.worker = dramatiq.Worker(stage.broker, worker_threads=1, worker_timeout=100)
    actor = stage.actor(seen.append, actor_name="add")
    for number in range(50):
        actor.send(number)
    stage.worker.start()
    stage.join()
    assert seen == list(range(50))


def test_a_delayed_message_waits_in_redis_and_not_in_memory(floor: Floor, play: Play) -> None:
    stage = play()
    ran_at: list[float] = []
    actor = stage.actor(lambda: ran_at.append(time.time()), actor_name="later")
    stage.worker.start()
    sent_at = time.time()
    far, near = actor.send_with_options(delay=3_600_000), actor.send_with_options(delay=400)
    assert floor.view(job_id_of(near)).state == "scheduled"
    floor.wait_until(job_id_of(near), "done")
    assert len(ran_at) == 1
    assert ran_at[0] - sent_at >= 0.4
    assert floor.view(job_id_of(far)).state == "scheduled"
    assert all(thread.delay_queue.empty() for thread in stage.worker.consumers.values())


def test_a_message_with_an_eta_of_its_own_runs_when_that_has_come(floor: Floor, play: Play) -> None:
    """As other brokers write it into a message: dramatiq's worker would keep it in memory, and enqueue it anew."""
    stage = play()
    ran_at: list[float] = []
    actor = stage.actor(lambda: ran_at.append(time.time()), actor_name="later")
    stage.worker.start()
    due = time.time() + 0.5
    message = actor.send_with_options(eta=int(due * 1000))
    assert floor.ended(job_id_of(message)).state == "done"
    assert len(ran_at) == 1
    assert ran_at[0] >= due - 0.001


def test_a_message_that_can_not_be_decoded_is_a_dead_letter(floor: Floor, play: Play) -> None:
    stage = play()
    stage.actor(lambda: None, actor_name="plain")
    job_id = uuid.uuid4()
    floor.put_raw(job_id, message(job_id, b"\xff no message", kind="plain"), kind="plain")
    stage.worker.start()
    view = floor.ended(job_id)
    assert (view.state, view.code, view.message) == (
        "dead",
        "JOB_PAYLOAD_INVALID",
        "the payload is no dramatiq message",
    )


def test_an_actor_that_is_declared_later_finds_its_messages(floor: Floor, play: Play) -> None:
    stage = play()
    elsewhere = floor.broker(middleware=[])
    sender = dramatiq.actor(lambda: None, broker=elsewhere, queue_name=QUEUE, actor_name="late")
    stage.broker.declare_queue(QUEUE)
    stage.worker.start()
    job_id = job_id_of(sender.send())
    assert floor.wait_until(job_id, JobState.PARKED).blocked_by == "kind:late"
    seen: list[int] = []
    stage.actor(lambda: seen.append(1), actor_name="late")
    assert floor.ended(job_id).state == "done"
    assert seen == [1]
    elsewhere.close()


def test_pipelines_pass_results_on(play: Play) -> None:
    stage = play(Pipelines())
    seen: list[int] = []
    double = stage.actor(lambda number: number * 2, actor_name="double")
    store = stage.actor(seen.append, actor_name="store")
    stage.worker.start()
    dramatiq.pipeline([double.message(2), double.message(), store.message()], broker=stage.broker).run()
    wait_for(lambda: seen == [8], "the end of the pipeline")
    stage.join()


def test_an_actor_can_send_messages_and_see_its_own(floor: Floor, play: Play) -> None:
    stage = play(CurrentMessage())
    seen: list[str] = []
    child = stage.actor(seen.append, actor_name="child")

    def parent() -> None:
        current = CurrentMessage.get_current_message()
        assert current is not None
        child.send(current.message_id)

    message = stage.actor(parent).send()
    stage.worker.start()
    wait_for(lambda: seen == [message.message_id], "the child")
    stage.join()
    assert floor.counts() == {"accepted": 2, "done": 2}


def test_a_message_that_is_sent_again_while_another_process_runs_it_adds_nothing(floor: Floor, play: Play) -> None:
    stage = play()
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert go_on.wait(20)

    message = stage.actor(slow).send()
    stage.worker.start()
    assert entered.wait(20)
    stage.broker.enqueue(message)
    go_on.set()
    stage.join()
    assert floor.counts() == {"accepted": 1, "done": 1}
    # One that has ended runs again, for dramatiq's way of replaying messages.
    stage.broker.enqueue(message)
    stage.join()
    assert floor.counts() == {"accepted": 2, "done": 2}


def test_a_message_is_its_tenants(floor: Floor, play: Play) -> None:
    stage = play()
    actor = stage.actor(lambda: None, actor_name="quick")
    plain, other = actor.send(), actor.send_with_options(tenant="globex")
    assert [floor.view(job_id_of(one)).tenant for one in (plain, other)] == ["default", "globex"]
    stage.worker.start()
    stage.join()


def test_a_flush_leaves_nothing_that_waits(floor: Floor, play: Play) -> None:
    stage = play()
    actor = stage.actor(lambda: None, actor_name="quick")
    for _ in range(3):
        actor.send()
    actor.send_with_options(delay=60_000)
    stage.broker.flush_all()
    assert floor.counts() == {"accepted": 4}
    assert floor.inspector.counts(QUEUE).purged == 4
    stage.join()


def test_what_is_not_declared_is_told(floor: Floor) -> None:
    broker = floor.broker(middleware=[])
    message: dramatiq.Message[Any] = dramatiq.Message("nowhere", "a", (), {}, {})
    for call in (
        lambda: broker.enqueue(message),
        lambda: broker.consume("nowhere"),
        lambda: broker.flush("nowhere"),
        lambda: broker.join("nowhere"),
    ):
        with pytest.raises(QueueNotFound):
            call()
    broker.declare_queue(QUEUE)
    broker.declare_queue(QUEUE)
    assert broker.get_declared_queues() == {QUEUE}
    broker.close()


def test_a_join_that_takes_too_long_is_told(play: Play) -> None:
    stage = play()
    stage.actor(lambda: None, actor_name="quick").send()
    with pytest.raises(QueueJoinTimeout):
        stage.broker.join(QUEUE, timeout=150, interval=20)
    stage.broker.flush(QUEUE)


def test_redis_that_is_away_is_told_as_dramatiq_tells_it() -> None:
    broker = PenstockBroker(client=connect("redis://127.0.0.1:9/0", replays=0), middleware=[])
    broker.declare_queue(QUEUE)
    with pytest.raises(ConnectionClosed):
        broker.enqueue(dramatiq.Message(QUEUE, "a", (), {}, {}))
    broker.close()


def test_the_window_of_a_message_that_is_done(floor: Floor, play: Play) -> None:
    stage = play()
    message = stage.actor(lambda: None, actor_name="quick").send()
    stage.worker.start()
    stage.join()
    left = timedelta(milliseconds=floor.client.pttl(floor.keys.job(job_id_of(message))))
    assert timedelta(minutes=59) < left <= stage.broker.policy.keep
