"""A circuit opens by failures in a window, lets one call try, and closes by a ramp; operators' words go above."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg_pool
import pytest
from dramatiq.middleware import Interrupt

from penstock.schemas.errors import Code, ConflictError, InvalidInputError, PenstockError, UnavailableError
from penstock.workers.protection.circuits_breaker import LetIn
from penstock.workers.protection.circuits_view import CircuitOpenError, CircuitState
from tests.workers.protection.circuit_kit import NAME, CircuitKit, PlatformDownError, open_kit

A_SECOND = timedelta(seconds=1)
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def kit(redis_url: str) -> Iterator[CircuitKit]:
    yield from open_kit(redis_url)


def state(kit: CircuitKit) -> CircuitState:
    return kit.view().state


def test_it_opens_at_the_fifth_failure(kit: CircuitKit) -> None:
    kit.fail(4)
    assert (state(kit), kit.view().failures) == (CircuitState.CLOSED, 4)
    kit.fail()
    assert state(kit) is CircuitState.OPEN
    with pytest.raises(CircuitOpenError) as refused, kit.circuits.guard(NAME):
        pytest.fail("an open circuit let a call in")
    assert refused.value.code is Code.CIRCUIT_OPEN
    assert timedelta(seconds=59) < refused.value.retry_after <= A_MINUTE
    assert refused.value.blocked_by == f"circuit:{NAME}"


def test_successes_make_up_for_no_failure_and_time_does(kit: CircuitKit) -> None:
    kit.fail(4)
    for _ in range(20):
        kit.succeed()
    kit.pass_time(timedelta(seconds=50))
    assert kit.view().failures == 4
    kit.pass_time(timedelta(seconds=11))
    kit.fail()
    assert (state(kit), kit.view().failures) == (CircuitState.CLOSED, 1)
    kit.fail(4)
    assert state(kit) is CircuitState.OPEN


def test_failures_of_all_processes_count_together(kit: CircuitKit) -> None:
    other = kit.another()
    kit.fail(3)
    kit.fail(2, circuits=other)
    with pytest.raises(CircuitOpenError):
        kit.succeed()


def test_circuits_do_not_mind_each_other(kit: CircuitKit) -> None:
    kit.fail(5)
    with kit.circuits.guard("platform:tiktok"):
        pass
    assert [(view.name, view.state) for view in kit.circuits.states()] == [
        (NAME, CircuitState.OPEN),
        ("platform:tiktok", CircuitState.CLOSED),
    ]


@pytest.mark.parametrize(
    "error",
    [
        PlatformDownError(),
        UnavailableError(Code.STORAGE_UNAVAILABLE, "m"),
        PenstockError(Code.STORAGE_TIMEOUT, "m"),
        psycopg_pool.PoolTimeout(),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_counts(kit: CircuitKit, error: Exception) -> None:
    kit.fail(5, error)
    assert state(kit) is CircuitState.OPEN


NOT_COUNTED = [
    InvalidInputError(Code.JOB_PAYLOAD_INVALID, "m"),
    ConflictError(Code.BATCH_CONFLICT, "m"),
    PenstockError(Code.STORAGE_REFUSED, "m"),
    PenstockError(Code.STORAGE_CONFLICT, "m"),
    CircuitOpenError("inner", A_SECOND),
    Interrupt(),
    KeyboardInterrupt(),
    GeneratorExit(),
]


@pytest.mark.parametrize("error", NOT_COUNTED, ids=lambda error: str(getattr(error, "code", type(error).__name__)))
def test_what_does_not_count(kit: CircuitKit, error: BaseException) -> None:
    kit.fail(6, error)
    assert (state(kit), kit.view().failures) == (CircuitState.CLOSED, 0)


def test_an_exceeded_limit_does_not_count(kit: CircuitKit) -> None:
    kit.fail(6, UnavailableError(Code("RATE_LIMIT_EXCEEDED"), "m"))
    assert kit.view().failures == 0


def test_an_error_comes_out_as_it_was_raised(kit: CircuitKit) -> None:
    def call() -> None:
        raise PlatformDownError

    with pytest.raises(PlatformDownError) as raised, kit.circuits.guard(NAME):
        call()
    assert [frame.name for frame in raised.traceback][-1] == "call"
    assert not any("pybreaker" in str(frame.path) for frame in raised.traceback)


def test_the_end_of_a_call_leaves_its_traceback_alone(kit: CircuitKit) -> None:
    with pytest.raises(PlatformDownError) as raised:
        raise PlatformDownError
    before = raised.value.__traceback__
    kit.circuits.tell(NAME, kit.circuits.ask(NAME), raised.value)
    assert raised.value.__traceback__ is before
    assert kit.view().failures == 1


def open_and_wait(kit: CircuitKit) -> None:
    kit.fail(5)
    kit.pass_time(timedelta(seconds=61))
    assert state(kit) is CircuitState.HALF_OPEN


def test_one_call_tries_and_the_others_wait(kit: CircuitKit) -> None:
    open_and_wait(kit)
    assert kit.refused("first") is None
    refusal = kit.refused("second")
    assert refusal is not None
    assert timedelta(0) < refusal.retry_after <= timedelta(seconds=10)
    # Who asks again for the same call is let in again.
    assert kit.refused("first") is None
    assert kit.view().probe_until is not None


def test_a_reservation_expires(kit: CircuitKit) -> None:
    open_and_wait(kit)
    assert kit.refused("first") is None
    kit.pass_time(timedelta(seconds=29))
    assert kit.refused("second") is not None
    kit.pass_time(timedelta(seconds=2))
    assert kit.refused("second") is None
    assert kit.refused("third") is not None


def test_a_try_that_fails_opens_it_again(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.fail()
    assert state(kit) is CircuitState.OPEN
    kit.pass_time(timedelta(seconds=58))
    assert kit.refused() is not None
    kit.pass_time(timedelta(seconds=3))
    assert kit.refused() is None


def test_it_can_stay_open_longer_each_time_up_to_a_limit(redis_url: str) -> None:
    for kit in open_kit(redis_url, open_limit_seconds=150):
        kit.fail(5)
        lasting = []
        for _ in range(4):
            refusal = kit.refused()
            assert refusal is not None
            lasting.append(round(refusal.retry_after.total_seconds()))
            kit.pass_time(refusal.retry_after + A_SECOND)
            kit.fail()
        assert lasting == [60, 120, 150, 150]


def test_one_that_opens_within_its_ramp_stays_open_longer(redis_url: str) -> None:
    for kit in open_kit(redis_url, open_limit_seconds=600):
        for ramp_passed, lasting in [(timedelta(seconds=29), 120), (timedelta(seconds=31), 60)]:
            open_and_wait(kit)
            kit.succeed()
            kit.pass_time(ramp_passed)
            # As of calls that were let in while Redis was away.
            for number in range(5):
                kit.circuits.tell(NAME, LetIn(str(number), "", probing=False), PlatformDownError())
            refusal = kit.refused()
            assert refusal is not None
            assert round(refusal.retry_after.total_seconds()) == lasting
            kit.client.delete(kit.key)


def test_a_try_that_learned_nothing_gives_its_place_back(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.fail(error=Interrupt())
    assert state(kit) is CircuitState.HALF_OPEN
    kit.succeed()
    assert state(kit) is CircuitState.CLOSED


def test_an_answer_to_wrong_data_shows_that_it_works(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.fail(error=InvalidInputError(Code.JOB_PAYLOAD_INVALID, "m"))
    assert state(kit) is CircuitState.CLOSED


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_calls_from_before_it_opened_decide_nothing(kit: CircuitKit, ends: str) -> None:
    error = None if ends == "well" else PlatformDownError()
    old = kit.circuits.ask(NAME)
    kit.fail(5)
    kit.circuits.tell(NAME, old, error)
    kit.pass_time(timedelta(seconds=61))
    assert kit.refused("probe") is None
    kit.circuits.tell(NAME, old, error)
    assert state(kit) is CircuitState.HALF_OPEN
    kit.circuits.tell(NAME, kit.circuits.ask(NAME, "probe"))
    assert state(kit) is CircuitState.CLOSED
    for _ in range(6):
        kit.circuits.tell(NAME, old, error)
    assert (state(kit), kit.view().failures) == (CircuitState.CLOSED, 0)


def let_in(kit: CircuitKit, calls: int = 400) -> float:
    return sum(kit.refused(f"holder-{number}") is None for number in range(calls)) / calls


def test_it_closes_by_a_ramp(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.succeed()
    shares, inside = [], []
    for _ in range(4):
        shares.append(kit.view().share)
        inside.append({number for number in range(400) if kit.refused(f"holder-{number}") is None})
        kit.pass_time(timedelta(seconds=10))
    assert shares == [10, 25, 50, 100]
    for share, calls in zip(shares, inside, strict=True):
        # Six standard deviations of a draw at 50 %.
        assert abs(len(calls) / 4 - share) < 15
    # Whoever was let in once is let in as the share grows.
    assert inside[0] < inside[1] < inside[2] < inside[3]


def test_the_ramp_names_when_more_is_let_in(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.succeed()
    refusals = [refusal for number in range(20) if (refusal := kit.refused(str(number)))]
    assert refusals
    assert all(timedelta(seconds=5) < refusal.retry_after <= timedelta(seconds=10) for refusal in refusals)


def test_a_circuit_that_fails_in_its_ramp_opens_again(kit: CircuitKit) -> None:
    open_and_wait(kit)
    kit.succeed()
    failed = 0
    while state(kit) is CircuitState.CLOSED and failed < 1_000:
        try:
            kit.fail()
        except CircuitOpenError:
            continue
        failed += 1
    assert (state(kit), failed) == (CircuitState.OPEN, 5)


def test_a_ramp_of_no_length_lets_all_in_at_once(redis_url: str) -> None:
    for kit in open_kit(redis_url, ramp_seconds=0):
        open_and_wait(kit)
        kit.succeed()
        assert kit.view().share == 100


@pytest.mark.parametrize("expires", [None, timedelta(minutes=30)])
def test_forced_open(kit: CircuitKit, expires: timedelta | None) -> None:
    kit.succeed()
    assert kit.circuits.force(NAME, CircuitState.OPEN, "their outage", "ada", expires)
    refusal = kit.refused()
    assert refusal is not None
    assert abs(refusal.retry_after - (expires or A_MINUTE)) < A_SECOND
    forced = kit.view().forced
    assert forced is not None
    assert (forced.by, forced.reason, forced.state) == ("ada", "their outage", CircuitState.OPEN)
    assert (forced.until is None) == (expires is None)
    kit.pass_time(timedelta(minutes=29))
    assert kit.refused() is not None
    assert kit.circuits.auto(NAME, "over", "ada")
    # One call tries first.
    assert (kit.refused("first"), kit.refused("second") is None) == (None, False)


def test_what_is_forced_expires(kit: CircuitKit) -> None:
    kit.circuits.force(NAME, CircuitState.OPEN, "their outage", "ada", A_MINUTE)
    kit.pass_time(A_MINUTE)
    assert (state(kit), kit.view().forced) == (CircuitState.HALF_OPEN, None)
    kit.circuits.force(NAME, CircuitState.CLOSED, "it works", "ada", A_MINUTE)
    kit.fail(9)
    assert state(kit) is CircuitState.CLOSED
    kit.pass_time(A_MINUTE)
    assert (kit.view().forced, kit.view().failures) == (None, 0)
    kit.fail(5)
    assert state(kit) is CircuitState.OPEN
    assert not kit.circuits.auto(NAME, "nothing to release", "ada")


def test_forced_closed_lets_all_in_whatever_happens(kit: CircuitKit) -> None:
    kit.fail(5)
    kit.circuits.force(NAME, CircuitState.CLOSED, "it works, I looked", "ada")
    kit.fail(20)
    assert let_in(kit, 20) == 1
    assert kit.circuits.auto(NAME, "enough", "ada")
    assert kit.view().failures == 0
    kit.fail(5)
    assert state(kit) is CircuitState.OPEN


def test_each_change_is_audited_in_its_step(kit: CircuitKit) -> None:
    assert not kit.circuits.force(NAME, CircuitState.OPEN, "outage", "ada", A_MINUTE)
    kit.circuits.force(NAME, CircuitState.CLOSED, "over", "bob")
    kit.circuits.auto(NAME, "as usual", "bob")
    # What changed nothing is no action.
    kit.circuits.auto(NAME, "again", "bob")
    entries = [json.loads(entry) for entry in kit.client.lrange(kit.audit_key, 0, -1)]
    assert [(one["actor"], one["action"], one["target"], one["reason"], one["details"]) for one in entries] == [
        ("ada", "circuit.open", NAME, "outage", {"for_seconds": 60.0}),
        ("bob", "circuit.close", NAME, "over", {"for_seconds": None}),
        ("bob", "circuit.auto", NAME, "as usual", {}),
    ]


def test_what_is_known_of_a_circuit_goes_by_itself(kit: CircuitKit) -> None:
    kit.succeed()
    assert not kit.client.exists(kit.key)
    kit.fail()
    assert 0 < kit.client.pttl(kit.key) <= 86_400_000
    kit.circuits.force(NAME, CircuitState.OPEN, "outage", "ada")
    assert kit.client.pttl(kit.key) == -1
    kit.circuits.auto(NAME, "over", "ada")
    assert 0 < kit.client.pttl(kit.key) <= 86_400_000


def test_a_call_within_a_call(kit: CircuitKit) -> None:
    outer = kit.circuits.ask(NAME)
    kit.fail(5)
    kit.circuits.tell(NAME, outer, PlatformDownError())
    assert state(kit) is CircuitState.OPEN
    with kit.circuits.guard("outer"), pytest.raises(CircuitOpenError), kit.circuits.guard(NAME):
        pytest.fail("an open circuit let a call in")
    assert kit.circuits.state("outer").failures == 0


def test_threads_run_their_calls_at_once(kit: CircuitKit) -> None:
    """The second thread gets into its block while the first is in its own; pybreaker's `call` holds a lock for it."""
    meeting = threading.Barrier(8)

    def call() -> None:
        with kit.circuits.guard(NAME):
            meeting.wait(10)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not meeting.broken


def test_instants_are_told(kit: CircuitKit) -> None:
    kit.fail(5)
    told = kit.view().as_dict()
    assert abs(datetime.fromisoformat(told["opened_at"]) - datetime.now(UTC)) < A_MINUTE
    assert datetime.fromisoformat(told["open_until"]) - datetime.fromisoformat(told["opened_at"]) == A_MINUTE
