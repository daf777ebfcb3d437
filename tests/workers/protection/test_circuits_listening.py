"""What Sentry hears of circuits."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from penstock.workers.protection.circuits_view import CircuitOpenError
from tests.workers.protection.circuit_kit import NAME, CircuitKit, open_kit


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Any) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(event)


@pytest.fixture
def kit(redis_url: str) -> Iterator[CircuitKit]:
    yield from open_kit(redis_url)


@pytest.fixture
def sentry() -> Iterator[Kept]:
    kept = Kept()
    sentry_sdk.init("https://key@sentry.invalid/1", transport=kept, default_integrations=False)
    yield kept
    sentry_sdk.get_global_scope().set_client(None)
    sentry_sdk.get_isolation_scope().clear()


def test_sentry_has_one_event_for_an_opening(kit: CircuitKit, sentry: Kept) -> None:
    other = kit.another()
    kit.fail(5)
    with pytest.raises(CircuitOpenError):
        kit.succeed(other)
    (event,) = sentry.events
    assert (event["message"], event["level"]) == (f"the circuit {NAME} is open", "warning")
    assert (event["fingerprint"], event["tags"]) == (["circuit", NAME], {"circuit": NAME})
    kit.pass_time(timedelta(seconds=61))
    kit.succeed()
    assert len(sentry.events) == 1
    sentry_sdk.capture_message("later")
    told = [crumb["message"] for crumb in sentry.events[1]["breadcrumbs"]["values"] if crumb["category"] == "circuit"]
    assert told[0] == f"the circuit {NAME} is open"
    assert told[-2:] == [f"the circuit {NAME} is half-open", f"the circuit {NAME} is closed"]


def test_without_sentry_nothing_is_told(kit: CircuitKit) -> None:
    assert not sentry_sdk.get_client().is_active()
    kit.fail(5)
    assert kit.view().state == "open"
    assert not sentry_sdk.get_isolation_scope()._breadcrumbs
