"""How outcomes end leases: pure decisions."""

import json
import os
import platform
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.errors import Code
from penstock.workers.broker.delivery import OpenedJob
from penstock.workers.broker.leases import LeasedJob, Verb
from penstock.workers.broker.settlements import Settlements, full_jitter
from penstock.workers.job import Dead, Done, Postpone, Retry
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.retry import Failure, Verdict, judge_failure
from penstock.workers.registry import Policy

NOW_MS = 1_800_000_000_000
POLICY = Policy(max_retries=2, backoff_base=timedelta(seconds=1), backoff_cap=timedelta(seconds=30))
SETTLEMENTS = Settlements("worker", "1.2.3")


def leased(**facts: Any) -> LeasedJob:
    members: dict[str, Any] = {
        "queue": "q",
        "job_id": "j",
        "kind": "k",
        "tenant": "t",
        "message": b"",
        "token": "b/1",
        "attempts": 0,
        "recoveries": 0,
        "crashes": 0,
        "postpones": 0,
        "postponed_at": None,
        "parked_at": None,
        "ready_at": NOW_MS,
        "leased_at": NOW_MS,
        "suspect": False,
    }
    return LeasedJob(**(members | facts))


@pytest.mark.parametrize(
    ("retry", "bound"),
    [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (7, 30), (1_000_000, 30)],
)
def test_the_wait_before_a_retry_is_anything_up_to_a_bound_that_grows(retry: int, bound: float) -> None:
    drawn = [full_jitter(POLICY, retry) for _ in range(400)]
    assert timedelta(0) <= min(drawn)
    assert max(drawn) <= timedelta(seconds=bound)
    # Full jitter: evenly from nothing to the bound. 400 draws miss a tenth at either end in one run of 10**18.
    assert min(drawn) < timedelta(seconds=bound) / 10
    assert max(drawn) > timedelta(seconds=bound) * 9 / 10
    assert len(set(drawn)) > 300


@pytest.mark.parametrize(
    ("outcome", "attempts", "verb"),
    [
        (Done(), 0, Verb.ACK),
        (Done(repeated=True), 9, Verb.ACK),
        (Retry(Code.STORAGE_REFUSED, "told"), 0, Verb.RETRY),
        (Retry(Code.STORAGE_REFUSED, "told"), 1, Verb.RETRY),
        (Retry(Code.STORAGE_REFUSED, "told"), 2, Verb.BURY),
        (Dead(Code.STORAGE_REFUSED, "told"), 0, Verb.BURY),
        (Postpone(timedelta(seconds=1), "b"), 99, Verb.POSTPONE),
    ],
)
def test_each_outcome_has_its_end(outcome: Any, attempts: int, verb: Verb) -> None:
    settlement = SETTLEMENTS.of_outcome(leased(attempts=attempts), outcome, POLICY, 0.5)
    assert settlement.verb is verb
    if verb in {Verb.RETRY, Verb.BURY}:
        entry = json.loads(settlement.detail["entry"])
        assert entry["outcome"] == ("retried" if verb is Verb.RETRY else "dead")
        assert (entry["attempt"], entry["worker"], entry["release"]) == (attempts + 1, "worker", "1.2.3")
        assert (entry["code"], entry["message"], entry["seconds"]) == ("STORAGE_REFUSED", "told", 0.5)
        assert settlement.detail.get("attempted", verb is Verb.RETRY) is True


@given(attempts=st.integers(0, 10_000), postpones=st.integers(0, 10_000))
def test_what_is_not_the_jobs_fault_has_no_end_and_costs_nothing(attempts: int, postpones: int) -> None:
    failure = Failure(Verdict.WAIT, Code.STORAGE_UNAVAILABLE, "away")
    job = leased(attempts=attempts, postpones=postpones, postponed_at=1)
    settlement = SETTLEMENTS.of_failure(job, failure, POLICY, 0.1)
    assert settlement.verb is Verb.POSTPONE
    assert 0 <= settlement.detail["delay"] <= 30_000
    assert settlement.detail["blocked_by"] == "storage"
    assert "entry" not in settlement.detail
    assert "limited" not in settlement.detail


@pytest.mark.parametrize(
    ("waited", "verb"),
    [(None, Verb.POSTPONE), (timedelta(hours=24), Verb.POSTPONE), (timedelta(hours=24, seconds=1), Verb.BURY)],
    ids=["never", "to the limit", "longer"],
)
def test_patience_counts_from_the_first_postponement_by_rediss_clock(waited: timedelta | None, verb: Verb) -> None:
    since = None if waited is None else NOW_MS - waited // timedelta(milliseconds=1)
    settlement = SETTLEMENTS.of_outcome(
        leased(postponed_at=since), Postpone(timedelta(seconds=2), "rate:x"), POLICY, 0.1
    )
    assert settlement.verb is verb
    if verb is Verb.POSTPONE:
        assert settlement.detail == {"delay": 2_000, "blocked_by": "rate:x", "limited": True}
    else:
        assert settlement.detail["code"] == Code.JOB_DEADLINE_EXCEEDED
        assert "rate:x" in settlement.detail["told"]
        assert "attempted" not in settlement.detail


def test_a_job_that_its_delivery_did_not_come_to_is_tried_a_little_later() -> None:
    settlement = SETTLEMENTS.not_run(leased())
    assert (settlement.verb, settlement.detail["delay"]) == (Verb.POSTPONE, 1_000)


@pytest.mark.parametrize("verdict", [Verdict.WAIT, Verdict.RETRY])
def test_a_wait_that_another_side_asked_for_is_kept_to_with_jitter_on_top(verdict: Verdict) -> None:
    failure = Failure(verdict, Code.RATE_LIMIT_EXCEEDED, "told", timedelta(seconds=90))
    settlement = SETTLEMENTS.of_failure(leased(), failure, POLICY, 0.1)
    assert 90_000 <= settlement.detail["delay"] <= 91_000


def test_an_actors_retry_can_name_a_wait() -> None:
    outcome = Retry(Code.PLATFORM_API_ERROR, "told", timedelta(seconds=90))
    settlement = SETTLEMENTS.of_outcome(leased(), outcome, POLICY, 0.1)
    assert settlement.verb is Verb.RETRY
    assert 90_000 <= settlement.detail["delay"] <= 91_000
    assert SETTLEMENTS.of_outcome(leased(attempts=2), outcome, POLICY, 0.1).verb is Verb.BURY


def test_a_job_that_met_an_open_circuit_waits_for_that_circuit() -> None:
    """By the name under which an operator's word wakes it."""
    failure = judge_failure(CircuitOpenError("platform:instagram", timedelta(seconds=40)))
    settlement = SETTLEMENTS.of_failure(leased(attempts=9), failure, POLICY, 0.1)
    assert settlement.verb is Verb.POSTPONE
    assert settlement.detail["blocked_by"] == "circuit:platform:instagram"
    assert 40_000 <= settlement.detail["delay"] <= 41_000


def test_what_is_given_back_costs_nothing_and_a_suspect_stays_one() -> None:
    header = EnvelopeHeader(id=uuid4(), kind="k", queue="q", tenant="t", enqueued_at=datetime.now(UTC))
    jobs = [OpenedJob(leased(suspect=suspect), header, b"") for suspect in (False, True)]
    given_back = SETTLEMENTS.given_back(jobs)
    assert [settlement.verb for settlement in given_back] == [Verb.RELEASE] * 2
    assert [settlement.detail for settlement in given_back] == [{}, {"alone": True}]


def entry_of(error: BaseException) -> dict[str, Any]:
    failure = Failure(Verdict.PERMANENT, Code.INTERNAL_ERROR, "it failed")
    settlement = SETTLEMENTS.of_failure(leased(), failure, POLICY, 0.1, error)
    found: dict[str, Any] = json.loads(settlement.detail["entry"])
    return found


def test_frames_of_libraries_are_told_from_ones_own() -> None:
    """Here a function of ours calls the standard library, which calls back."""
    try:
        json.loads("{}", object_hook=lambda _: 1 / 0)
    except ZeroDivisionError as error:
        entry = entry_of(error)
    own = [place in entry["own"] for place in range(len(entry["traceback"]))]
    assert (own[0], own[-1]) == (True, True)
    assert not any(own[1:-1])
    assert all("/json/" in frame for frame in entry["traceback"][1:-1])


def test_errors_that_led_to_it_are_named_without_their_texts() -> None:
    try:
        try:
            int("a private text")
        except ValueError as cause:
            raise LookupError("another one") from cause
    except LookupError as error:
        entry = entry_of(error)
    assert (entry["error"], entry["causes"]) == ("builtins.LookupError", ["builtins.ValueError"])
    assert "private" not in str(entry)
    assert "another" not in str(entry)


def test_an_attempt_names_the_process_that_made_it() -> None:
    entry = entry_of(ValueError())
    assert (entry["worker"], entry["host"], entry["pid"]) == ("worker", platform.node(), os.getpid())


def test_errors_in_a_circle_have_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert entry_of(first)["causes"][0] == "builtins.KeyError"
