"""Failures of plain dramatiq actors: dramatiq's own middleware decides, and nothing is lost."""

import itertools
import pickle
import time
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AgeLimit, MiddlewareError

from penstock.producers.queue.connection import connect
from penstock.workers.broker.delivery import job_id_of
from tests.workers.broker.conftest import Floor, Play
from tests.workers.broker.faults import FaultyClient


def test_a_failed_message_is_retried_by_dramatiqs_middleware(floor: Floor, play: Play) -> None:
    stage = play()
    turns = itertools.count()

    def flaky() -> None:
        if next(turns) < 2:
            raise RuntimeError("not yet")

    actor = stage.actor(flaky, max_retries=5)
    stage.worker.start()
    view = floor.ended(job_id_of(actor.send()))
    assert (view.state, view.attempts, next(turns)) == ("done", 2, 3)


def test_retries_that_are_exhausted_leave_a_dead_letter_and_not_the_exceptions_text(floor: Floor, play: Play) -> None:
    stage = play()

    def hopeless() -> None:
        raise RuntimeError("a-private-text")

    actor = stage.actor(hopeless, max_retries=2)
    stage.worker.start()
    job_id = job_id_of(actor.send())
    view = floor.ended(job_id)
    assert (view.state, view.code, view.attempts) == ("dead", "INTERNAL_ERROR", 3)
    assert view.message == "the actor raised RuntimeError"
    assert [(entry["attempt"], entry["outcome"]) for entry in view.history] == [
        (1, "retried"),
        (2, "retried"),
        (3, "dead"),
    ]
    assert {entry["error"] for entry in view.history} == {"builtins.RuntimeError"}
    assert view.history[-1]["traceback"][-1].endswith(" in hopeless")
    assert "a-private-text" not in str(view.as_dict())


class BreaksRetries(dramatiq.Middleware):
    """Refuses what `Retries` enqueues; dramatiq logs that, and would acknowledge the message."""

    def before_enqueue(self, _broker: dramatiq.Broker, message: Any, _delay: Any) -> None:
        if message.options.get("retries"):
            raise MiddlewareError("broken")


@pytest.mark.parametrize("retries", [True, False], ids=["Retries fails", "no Retries"])
def test_a_failure_that_no_middleware_sees_to_is_a_dead_letter_and_never_done(
    floor: Floor, play: Play, retries: bool
) -> None:
    stage = play(BreaksRetries(), retries=retries)

    def fails() -> None:
        raise KeyError("x")

    actor = stage.actor(fails)
    stage.worker.start()
    view = floor.ended(job_id_of(actor.send()))
    assert (view.state, view.code, view.message) == ("dead", "INTERNAL_ERROR", "the actor raised KeyError")


def test_a_retry_that_can_not_be_encoded_is_a_dead_letter(floor: Floor, play: Play) -> None:
    """An actor may change what it was given."""
    stage = play()

    def spoil(items: list[Any]) -> None:
        items.append(object())
        raise KeyError("x")

    actor = stage.actor(spoil)
    stage.worker.start()
    view = floor.ended(job_id_of(actor.send([])))
    assert (view.state, view.message) == ("dead", "the actor raised KeyError")


def test_a_message_that_a_middleware_skips_is_done_or_dead_as_it_says(floor: Floor, play: Play) -> None:
    stage = play(AgeLimit(max_age=1))
    actor = stage.actor(lambda: None, actor_name="quick")
    ids = [job_id_of(actor.send())]
    time.sleep(0.01)
    stage.worker.start()
    assert floor.ended(ids[0]).state == "dead"
    assert floor.view(ids[0]).message == "the actor raised SkipMessage"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_retry_is_not_lost_though_redis_fails_at_that_moment(floor: Floor, play: Play, when: str) -> None:
    client = FaultyClient(connect(floor.settings.redis_url, replays=0))
    stage = play(client=client)
    turns = itertools.count()

    def flaky() -> None:
        if next(turns) == 0:
            # From now on nothing of this worker reaches Redis (or no answer comes) for a while.
            client.fail("settle", 3, when=when)
            client.fail("enqueue", 3, when=when)
            raise RuntimeError("not yet")

    actor = stage.actor(flaky, max_retries=5)
    stage.worker.start()
    view = floor.ended(job_id_of(actor.send()))
    assert (view.state, view.attempts, next(turns)) == ("done", 1, 2)
    assert client.failed["settle"] == 3
    assert client.failed["enqueue"] == 0, "a retry is part of the step that ends the lease"


@pytest.mark.parametrize("encoder", [dramatiq.JSONEncoder(), dramatiq.PickleEncoder()], ids=["json", "pickle"])
def test_a_retry_keeps_its_message_whatever_encodes_it(floor: Floor, play: Play, encoder: dramatiq.Encoder) -> None:
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(encoder)
    try:
        stage = play()
        seen: list[Any] = []

        def flaky(value: Any) -> None:
            seen.append(value)
            if len(seen) == 1:
                raise RuntimeError("not yet")

        actor = stage.actor(flaky)
        stage.worker.start()
        value = "é\udcff\x00\n" if isinstance(encoder, dramatiq.JSONEncoder) else {1: bytes(range(256))}
        assert pickle.loads(pickle.dumps(value)) == value
        assert floor.ended(job_id_of(actor.send(value))).state == "done"
        assert seen == [value, value]
    finally:
        dramatiq.set_encoder(before)
