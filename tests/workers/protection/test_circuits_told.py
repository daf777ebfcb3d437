"""What callers tell circuits that know better than an error's code: that they made no call, or what an answer means."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.schemas.errors import Code
from penstock.workers.platforms.answers import Answer, AnswerClass, Phase, PlatformFault
from penstock.workers.protection.circuits_view import CircuitState
from tests.workers.protection.circuit_kit import NAME, CircuitKit, open_kit

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED


@pytest.fixture
def kit(redis_url: str) -> Iterator[CircuitKit]:
    yield from open_kit(redis_url)


def half_open(kit: CircuitKit) -> None:
    kit.fail(5)
    kit.pass_time(timedelta(seconds=61))
    assert kit.view().state is HALF_OPEN


def fault(
    cls: AnswerClass, code: Code = Code.PLATFORM_API_ERROR, *, circuit: bool = False, asked: bool = True
) -> PlatformFault:
    return PlatformFault(Answer(cls, Phase.PREPARE, code, "told", circuit=circuit, asked=asked))


def test_who_made_no_call_gives_the_try_back(kit: CircuitKit) -> None:
    half_open(kit)
    call = kit.circuits.ask(NAME, "job/lease")
    assert kit.refused("another") is not None
    kit.circuits.leave(NAME, call)
    assert kit.view().state is HALF_OPEN
    assert kit.view().probe_until is None
    assert kit.refused("another") is None


def test_a_try_that_was_reserved_by_a_gate_is_given_back_too(kit: CircuitKit) -> None:
    half_open(kit)
    assert kit.refused("job/lease") is None
    kit.circuits.leave(NAME, kit.circuits.ask(NAME, "job/lease"))
    assert kit.refused("another") is None


def test_leaving_decides_nothing_else(kit: CircuitKit) -> None:
    kit.fail(2)
    for _ in range(3):
        kit.circuits.leave(NAME, kit.circuits.ask(NAME))
    assert (kit.view().state, kit.view().failures) == (CLOSED, 2)
    kit.pass_time(timedelta(seconds=61))
    half_open(kit)
    mine = kit.circuits.ask(NAME, "mine")
    kit.pass_time(timedelta(seconds=31))
    assert kit.refused("theirs") is None
    kit.circuits.leave(NAME, mine)
    assert kit.refused("another") is not None, "the place is somebody else's by now"
    kit.circuits.leave(NAME, None)


@pytest.mark.parametrize("code", [Code.PLATFORM_API_ERROR, Code.POST_PLATFORM_ERROR, Code.RATE_LIMIT_EXCEEDED])
@pytest.mark.parametrize(("circuit", "after"), [(True, OPEN), (False, CLOSED)])
def test_a_platforms_answer_says_whether_it_counts_whatever_its_code(
    kit: CircuitKit, code: Code, circuit: bool, after: CircuitState
) -> None:
    kit.fail(5, error=fault(AnswerClass.RETRY, code, circuit=circuit))
    assert kit.view().state is after
    assert kit.view().failures == 0
    half_open_again = after is CLOSED
    if half_open_again:
        half_open(kit)
        kit.fail(error=fault(AnswerClass.PERMANENT, code, circuit=circuit))
        assert kit.view().state is CLOSED, "it has answered"


def test_media_of_ours_that_can_not_be_had_say_nothing_of_the_platform(kit: CircuitKit) -> None:
    half_open(kit)
    kit.fail(error=fault(AnswerClass.RETRY, Code.PLATFORM_MEDIA_UNREACHABLE, asked=False))
    assert kit.view().state is HALF_OPEN
    assert kit.refused("another") is None
