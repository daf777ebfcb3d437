"""Replays: every letter once, canary first, at a pace, and no further where they die again."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters import replay_engine, replay_items, replay_rules
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.replay import ReplayPlan, ReplayStatus
from penstock.workers.dead_letters.replay_engine import ReplayEngine
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.settings import WorkerSettings
from tests.system import Database
from tests.workers.dead_letters.replay_kit import ReplayKit, a_letter

Pool = ConnectionPool[psycopg.Connection[Any]]


@pytest.fixture(scope="module")
def replay_pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def kit(database: Database, replay_pool: Pool, settings: WorkerSettings) -> Iterator[ReplayKit]:
    made = ReplayKit(database, Transactions(replay_pool, settings), LetterSearch(replay_pool))
    yield made
    made.clear()


def test_all_are_healed_at_last(kit: ReplayKit) -> None:
    kit.die(30)
    replay = kit.order(canary=5)
    assert (replay.status, replay.total) == (ReplayStatus.PREPARING, 0)
    assert kit.step(replay).status is ReplayStatus.CANARY
    found = kit.step_until(replay, "done")
    assert (found.total, found.sent, found.done, found.died, found.skipped) == (30, 30, 30, 0, 0)
    assert found.told == "All 30 are done."
    assert len(set(kit.outbox())) == 30
    assert kit.actions(replay) == [
        ("mara", "replay.start"),
        *(("scheduler", f"replay.{status}") for status in ("canary", "running", "done")),
    ]


def test_the_rest_waits_for_the_canary(kit: ReplayKit) -> None:
    ids = kit.die(20)
    replay = kit.order(canary=5)
    kit.step(replay, 5)
    assert kit.sent() == ids[:5]
    kit.end("done", *ids[:4])
    assert kit.step(replay, 3).status is ReplayStatus.CANARY
    assert kit.sent() == ids[4:5]
    kit.end("done", ids[4])
    assert kit.step(replay).status is ReplayStatus.RUNNING


def test_a_letter_whose_job_was_lost_is_skipped_and_ends_no_replay(kit: ReplayKit) -> None:
    ids = kit.die(10)
    replay = kit.order(canary=5)
    kit.step(replay, 2)
    kit.database.query(
        "UPDATE penstock.dead_letters SET state = 'open', became = NULL, resolved_at = NULL, replay_id = NULL"
        " WHERE dead_id = %s",
        ids[0],
    )
    found = kit.step(replay)
    # Another one stands in for it.
    assert (found.status, found.sent, found.skipped, found.waiting) == (ReplayStatus.CANARY, 5, 1, 5)
    found = kit.step_until(replay, "done")
    assert (found.total, found.sent, found.done, found.skipped) == (10, 9, 9, 1)


def test_an_unfixed_cause_stops_it_after_the_canary(kit: ReplayKit) -> None:
    ids = kit.die(50)
    replay = kit.order(canary=5, stop_share=0.2)
    kit.step(replay, 2)
    kit.end("died", *ids[:2])
    found = kit.step(replay)
    assert (found.status, found.sent) == (ReplayStatus.STOPPED, 5)
    assert found.told == "2 of 5 died again (40 %), over the limit of 20 %; 45 were not sent."
    assert found.ended_at is not None
    kit.end("done", *ids[2:5])
    assert (kit.step(replay).done, kit.step(replay).waiting) == (3, 0)
    assert kit.step(replay).told == found.told
    assert len(kit.outbox()) == 5


def test_it_stops_in_the_middle(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_engine, "STEP_LETTERS", 20)
    ids = kit.die(100)
    replay = kit.order(canary=0, stop_share=0.2)
    kit.step(replay, 2)
    kit.let_pass(replay, 1)
    kit.step(replay)
    sent = kit.sent()
    assert sent == ids[: len(sent)]
    kit.end("done", *sent[6:])
    kit.end("died", *sent[:6])
    found = kit.step(replay)
    assert found.status is ReplayStatus.STOPPED
    assert found.told.startswith(f"6 of {len(sent)} died again ")
    assert found.told.endswith(f"{100 - len(sent)} were not sent.")


def test_a_share_at_the_limit_goes_on(kit: ReplayKit) -> None:
    ids = kit.die(10)
    replay = kit.order(canary=5, stop_share=0.2)
    kit.step(replay, 2)
    kit.end("died", ids[0])
    kit.end("done", *ids[1:5])
    assert kit.step(replay).status is ReplayStatus.RUNNING


def test_the_pace_is_kept(kit: ReplayKit) -> None:
    kit.die(200)
    replay = kit.order(canary=0, pace_per_second=20.0)
    kit.step(replay, 2)
    assert kit.replays.show(replay.replay_id).sent == 1
    kit.let_pass(replay, 0.5)
    assert 10 <= kit.step(replay).sent <= 13
    before = kit.replays.show(replay.replay_id).sent
    # An absence of all schedulers is not made up for in one go.
    kit.let_pass(replay, 60)
    assert kit.step(replay).sent - before == 20


def test_no_more_are_on_their_way_than_may_be(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_rules, "IN_FLIGHT_LIMIT", 7)
    kit.die(20)
    replay = kit.order(canary=0)
    kit.step(replay, 2)
    kit.let_pass(replay, 1)
    assert kit.step(replay, 3).waiting == 7
    kit.end("done", *kit.sent()[:3])
    kit.let_pass(replay, 1)
    found = kit.step(replay)
    assert (found.waiting, found.sent) == (7, 10)


def test_a_letter_that_dies_again_is_none_of_it(kit: ReplayKit) -> None:
    records = [a_letter(number) for number in range(6)]
    ids = kit.die(records)
    replay = kit.order(canary=6, stop_share=1.0)
    kit.step(replay, 2)
    again = [replace(a_letter(100 + at), job_id=records[at].job_id) for at in range(6)]
    kit.die(again)
    found = kit.step(replay)
    assert (found.status, found.total, found.died) == (ReplayStatus.DONE, 6, 6)
    assert kit.sent() == []
    states = dict(kit.database.query("SELECT dead_id, state FROM penstock.dead_letters"))
    assert {states[one] for one in ids} == {"requeued"}
    assert {states[one.dead_id] for one in again} == {"open"}


def test_preparing_goes_on_where_it_was(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_items, "CHUNK_LETTERS", 4)
    kit.die([a_letter(number, payload={"form": "a" if number % 3 else "b"}) for number in range(10)])
    replay = kit.order(filter=LetterFilter(payload=(("form", "b"),)), canary=0)
    assert kit.step(replay).status is ReplayStatus.PREPARING
    # What is archived later is none of it, and neither is what somebody resolves meanwhile.
    kit.die([a_letter(50, payload={"form": "b"})])
    found = kit.step(replay, 2)
    assert (found.status, found.total) == (ReplayStatus.RUNNING, 4)
    ordinals = kit.database.query("SELECT ordinal FROM penstock.replay_items ORDER BY ordinal")
    assert [ordinal for (ordinal,) in ordinals] == [1, 2, 3, 4]


def test_what_others_resolved_is_skipped(kit: ReplayKit) -> None:
    ids = kit.die([*(a_letter(number) for number in range(4)), a_letter(9, header_ok=False, raw=b"?")])
    replay = kit.order(canary=2)
    kit.step(replay)
    kit.decisions.discard(ids[:2], "jon", "old")
    kit.decisions.requeue(ids[2:3], "jon", "at once")
    kit.end("done", ids[2])
    found = kit.step_until(replay, "done")
    assert (found.total, found.sent, found.skipped) == (5, 1, 4)
    assert found.told.startswith("The one that was sent is done; 4 were skipped")


def test_a_canary_without_outcome_pauses_it(kit: ReplayKit) -> None:
    ids = kit.die(10)
    replay = kit.order(canary=3)
    kit.step(replay, 2)
    kit.let_pass(replay, 301)
    found = kit.step(replay)
    assert found.status is ReplayStatus.PAUSED
    assert found.told == "3 of the canary's 3 have no outcome yet: see what holds their jobs."
    # Outcomes are taken all the same, and a resumed one waits anew.
    kit.end("done", ids[0])
    assert kit.step(replay).done == 1
    assert kit.replays.resume(replay.replay_id, "mara", "the circuit is closed").status is ReplayStatus.CANARY
    assert kit.step(replay, 2).status is ReplayStatus.CANARY
    kit.end("done", *ids[1:3])
    assert kit.step(replay).status is ReplayStatus.RUNNING


def test_pause_resume_and_cancel(kit: ReplayKit) -> None:
    kit.die(10)
    replay = kit.order(canary=0, pace_per_second=1.0)
    kit.step(replay, 2)
    paused = kit.replays.pause(replay.replay_id, "jon", "lunch")
    assert (paused.status, paused.told) == (ReplayStatus.PAUSED, "Paused by jon: lunch. 9 are not sent.")
    kit.let_pass(replay, 10)
    assert kit.step(replay).sent == 1
    kit.replays.pause(replay.replay_id, "jon", "lunch")
    assert kit.replays.resume(replay.replay_id, "jon", "back").status is ReplayStatus.RUNNING
    assert kit.step(replay).sent == 2
    cancelled = kit.replays.cancel(replay.replay_id, "jon", "enough")
    assert (cancelled.status, cancelled.told) == (ReplayStatus.CANCELLED, "Cancelled by jon: enough. 8 are not sent.")
    kit.end("done", *kit.sent())
    assert kit.step(replay).done == 2
    assert kit.replays.cancel(replay.replay_id, "jon", "enough").status is ReplayStatus.CANCELLED
    with pytest.raises(ConflictError, match="JOB_REPLAY_ENDED"):
        kit.replays.resume(replay.replay_id, "jon", "again")
    done_by_jon = [action for actor, action in kit.actions(replay) if actor == "jon"]
    assert done_by_jon == ["replay.pause", "replay.resume", "replay.cancel"]


def test_several_schedulers_send_each_letter_once(kit: ReplayKit) -> None:
    kit.die(60)
    replays = [kit.order(canary=0), kit.order(canary=0)]

    def work() -> None:
        engine = ReplayEngine(kit.transactions, kit.decisions, timedelta(minutes=5))
        for _ in range(25):
            for replay_id, _ in engine.active():
                engine.step(replay_id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for replay in replays:
        kit.step_until(replay, "done")
    found = [kit.replays.show(replay.replay_id) for replay in replays]
    assert sum(replay.sent for replay in found) == 60
    assert sum(replay.sent + replay.skipped for replay in found) == 120
    assert len(set(kit.outbox())) == 60


def test_a_step_that_fails_changes_nothing(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.die(6)
    replay = kit.order(canary=3)
    kit.step(replay)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # After the letters and the outbox were written, and before the replay knows of it.
        patched.setattr(replay_engine, "mark", die)
        with pytest.raises(KeyboardInterrupt):
            kit.engine.step(replay.replay_id)
    assert (kit.sent(), kit.outbox()) == ([], [])
    assert kit.step(replay).sent == 3
    assert len(kit.outbox()) == 3


def test_what_can_not_go_on_is_paused(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = kit.die(2)
    replay = kit.order(ids=tuple(ids), canary=0)
    kit.step(replay)

    def refuse(*_: Any, **__: Any) -> None:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "no")

    monkeypatch.setattr(kit.decisions, "requeue_in", refuse)
    found = kit.step(replay)
    assert (found.status, found.told) == (ReplayStatus.PAUSED, "It can't go on: no.")


def test_no_letter_is_chosen(kit: ReplayKit) -> None:
    found = kit.step(kit.order())
    assert (found.status, found.told) == (ReplayStatus.DONE, "No open letter was chosen.")


def test_the_list_goes_on_behind_its_cursor(kit: ReplayKit) -> None:
    made = [kit.order().replay_id for _ in range(3)]
    first = kit.replays.list(limit=2)
    rest = kit.replays.list(limit=2, cursor=first.next)
    assert [found.replay_id for found in (*first.items, *rest.items)] == made[::-1]
    assert rest.next is None


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"filter": None}, id="nothing is chosen"),
        pytest.param({"ids": (uuid4(),), "group": "0" * 16}, id="ids and a group"),
        pytest.param({"ids": tuple(uuid4() for _ in range(1_001))}, id="too many ids"),
        pytest.param({"filter": LetterFilter.parse({"state": "requeued"})}, id="letters that are not open"),
        pytest.param({"canary": 1_001}, id="too large a canary"),
        pytest.param({"canary": -1}, id="a canary below nothing"),
        pytest.param({"pace_per_second": 0.0}, id="no pace"),
        pytest.param({"pace_per_second": float("nan")}, id="a pace that is no number"),
        pytest.param({"stop_share": 1.1}, id="more than all"),
        pytest.param({"reason": " "}, id="no reason"),
    ],
)
def test_a_plan_that_is_none_is_refused(kit: ReplayKit, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="REQUEST_USAGE"):
        kit.order(**changed)
    assert kit.replays.list().items == []


def test_ids_that_are_none_are_refused(kit: ReplayKit) -> None:
    with pytest.raises(NotFoundError, match="JOB_DEAD_LETTER_NOT_FOUND"):
        kit.order(ids=(uuid4(),))
    with pytest.raises(NotFoundError, match="JOB_REPLAY_NOT_FOUND"):
        kit.replays.show(uuid4())


def test_items_are_forgotten_long_after_the_end(kit: ReplayKit) -> None:
    kit.die(3)
    replay = kit.order(canary=0)
    kit.step_until(replay, "done")
    assert kit.engine.forget() == 0
    kit.database.query("UPDATE penstock.replays SET ended_at = now() - INTERVAL '8 days'")
    assert kit.engine.forget() == 3
    assert kit.replays.show(replay.replay_id).total == 3


def test_a_plan_reads_back_as_it_was(kit: ReplayKit) -> None:
    chosen = LetterFilter.parse({"form": "poll", "payload": ["a.0=1", 'b="x"'], "text": "no such", "since": "2d"})
    replay = kit.order(filter=chosen, group="0123456789abcdef")
    selection = ReplayPlan(by="x", reason="x", filter=chosen, group="0123456789abcdef").selection()
    assert replay.selection == selection.as_dict()
    assert type(selection).of(replay.selection) == selection
