"""Several jobs in one delivery: one transaction, and one bad job harms no other."""

import uuid
from datetime import timedelta

from penstock.producers import JobState
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.database.transaction import TRIES
from penstock.workers.job import Dead, Done, Outcome, Postpone, Retry
from penstock.workers.registry import Policy
from tests.workers.broker.conftest import Behaviour, Chore, Errand, Floor, failing, message

GROUPED = Policy(
    max_retries=2, backoff_base=timedelta(milliseconds=10), backoff_cap=timedelta(milliseconds=20), group_limit=8
)


def test_jobs_that_came_together_share_a_transaction(floor: Floor) -> None:
    ids = [floor.put(f"g{number}") for number in range(8)]
    floor.open(policy=GROUPED, threads=1)
    for job_id in ids:
        assert floor.ended(job_id).state == "done"
    first = floor.actor.deliveries[0]
    assert len(first) > 1
    together = "SELECT count(DISTINCT xmin::text) FROM public.chores WHERE name = ANY(%s) AND job_id = ANY(%s)"
    assert floor.database.value(together, first, ids) == 1
    assert sum(map(len, floor.actor.deliveries)) == 8


def test_a_group_has_no_more_jobs_than_its_kind_allows(floor: Floor) -> None:
    ids = [floor.put(f"g{number}") for number in range(100)]
    floor.open(policy=GROUPED, threads=1)
    for job_id in ids:
        floor.ended(job_id)
    assert max(map(len, floor.actor.deliveries)) == 8


def test_a_group_is_of_one_kind_and_keeps_the_order(floor: Floor) -> None:
    kinds = [Chore.kind, Chore.kind, Errand.kind, Chore.kind, Errand.kind, Errand.kind]
    ids = [floor.put(f"g{place}", kind=kind) for place, kind in enumerate(kinds)]
    floor.open(policy=GROUPED, threads=1, kinds=(Chore, Errand))
    for job_id in ids:
        floor.ended(job_id)
    of = {f"g{place}": kind for place, kind in enumerate(kinds)}
    assert all(len({of[name] for name in names}) == 1 for names in floor.actor.deliveries)
    assert [name for names in floor.actor.deliveries for name in names] == list(of)


def test_a_kind_that_takes_jobs_singly_gets_them_singly(floor: Floor) -> None:
    ids = [floor.put(f"g{number}") for number in range(10)]
    floor.open()
    for job_id in ids:
        floor.ended(job_id)
    assert {len(names) for names in floor.actor.deliveries} == {1}


def test_each_job_of_a_group_has_an_outcome_of_its_own(floor: Floor) -> None:
    good = floor.put("good")
    conflict = floor.put("conflict", lambda _: Dead(Code.BATCH_CONFLICT, "told"))
    later = floor.put("later", lambda _: Postpone(timedelta(hours=1), "busy"))
    again = floor.put("again", once(Retry(Code.STORAGE_REFUSED, "told")))
    last = floor.put("last")
    floor.open(policy=GROUPED, threads=1)
    assert [floor.ended(job_id).state for job_id in (good, conflict, again, last)] == ["done", "dead", "done", "done"]
    assert floor.wait_until(later, JobState.SCHEDULED).postpones == 1
    assert floor.actor.attempts["good"] == floor.actor.attempts["last"] == [1]
    assert floor.actor.attempts["again"] == [1, 2]


def once(outcome: Outcome) -> Behaviour:
    left = iter([outcome])
    return lambda _: next(left, Done())


def test_a_group_that_fails_is_dissolved_and_each_runs_alone_at_no_cost(floor: Floor) -> None:
    ids = {name: floor.put(name) for name in ("a", "b", "bad", "c", "d")}
    floor.actor.behaviours["bad"] = failing(99, PenstockError(Code.STORAGE_REFUSED, "told"))
    floor.open(policy=GROUPED, threads=1)
    views = {name: floor.ended(job_id) for name, job_id in ids.items()}
    assert len(floor.actor.deliveries[0]) > 1
    assert {name: view.state for name, view in views.items()} == dict.fromkeys(ids, "done") | {"bad": "dead"}
    assert (views["bad"].code, views["bad"].attempts) == ("STORAGE_REFUSED", 1)
    # No attempt was spent on the group's failure, and none of its work was kept.
    for name in floor.actor.deliveries[0]:
        assert set(floor.actor.attempts[name]) == {1}
        assert [name] in floor.actor.deliveries
    assert [floor.effects(job_id) for job_id in ids.values()] == [1, 1, 0, 1, 1]


def test_a_group_that_waits_for_a_dependency_stays_one(floor: Floor) -> None:
    """It is nobody's fault, so there is nobody to find."""
    ids = [floor.put(f"g{number}") for number in range(4)]
    floor.actor.behaviours["g1"] = failing(TRIES, UnavailableError(Code.STORAGE_UNAVAILABLE, "away"))
    floor.open(policy=GROUPED, threads=1)
    for job_id in ids:
        view = floor.ended(job_id)
        assert (view.state, view.attempts) == ("done", 0)
    assert floor.client.exists(floor.keys.key("alone")) == 0


def test_a_payload_that_can_not_be_opened_leaves_its_group_alone(floor: Floor) -> None:
    bad = uuid.uuid4()
    first = floor.put("first")
    floor.put_raw(bad, message(bad, b"rubbish", encoding="zstd"))
    last = floor.put("last")
    floor.open(policy=GROUPED, threads=1)
    assert [floor.ended(job_id).state for job_id in (first, bad, last)] == ["done", "dead", "done"]
    assert floor.actor.attempts == {"first": [1], "last": [1]}
