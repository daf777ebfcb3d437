"""What a start waits for, how long, and what it does not wait for at all."""

from datetime import timedelta

import pytest

from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError
from penstock.workers.database.readiness import LONGEST_PAUSE, RETRY_EVERY, StartWaits

OUTDATED = PenstockError(Code.STORAGE_SCHEMA_OUTDATED, "the schema lacks 1 of 18 migrations")
STARTED = PenstockError(Code.STORAGE_MIGRATION_INCOMPLETE, "migration 0018 was started and has not ended")
AWAY = UnavailableError(Code.STORAGE_UNAVAILABLE, "PostgreSQL does not answer")


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("error", [OUTDATED, STARTED], ids=lambda error: str(error.code))
def test_a_schema_is_waited_for_ever_more_patiently_until_the_limit(clock: Clock, error: PenstockError) -> None:
    waits = StartWaits(timedelta(seconds=30), clock)
    pauses = []
    for _ in range(5):
        pause, told = waits.pause_after(error)
        pauses.append(pause.total_seconds())
        assert error.message in told
        assert "penstock migrate up" in told
        clock.seconds += pause.total_seconds()
    with pytest.raises(PenstockError) as caught:
        waits.pause_after(error)
    assert caught.value is error
    assert pauses == [2, 4, 8, 10, 6]
    assert pauses[3] == LONGEST_PAUSE.total_seconds()


def test_servers_are_waited_for_without_end_and_take_nothing_from_the_schemas_time(clock: Clock) -> None:
    waits = StartWaits(timedelta(seconds=30), clock)
    for _ in range(100):
        assert waits.pause_after(AWAY) == (RETRY_EVERY, "PostgreSQL does not answer; trying again")
        clock.seconds += 60
    assert "30 s more" in waits.pause_after(OUTDATED)[1]


def test_no_patience_means_none(clock: Clock) -> None:
    with pytest.raises(PenstockError) as caught:
        StartWaits(timedelta(0), clock).pause_after(OUTDATED)
    assert caught.value is OUTDATED


def test_what_waiting_does_not_change_ends_the_start(clock: Clock) -> None:
    refused = InvalidInputError(Code.CONFIG_INVALID, "no such thing")
    with pytest.raises(PenstockError) as caught:
        StartWaits(timedelta(seconds=30), clock).pause_after(refused)
    assert caught.value is refused
