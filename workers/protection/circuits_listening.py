"""Listeners: what logs, metrics and Sentry hear of circuits. They tell names and states, and nothing of the calls."""

import logging
import threading
from collections.abc import Iterable

import pybreaker
import sentry_sdk

from penstock.schemas.errors import Code
from penstock.workers.protection.circuits_breaker import SharedBreaker
from penstock.workers.protection.circuits_view import CircuitState, CircuitView
from penstock.workers.telemetry.metrics import CIRCUIT_STATE

_log = logging.getLogger(__name__)

#: The gauge's values.
_LEVELS = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}

_OLD = pybreaker.CircuitBreakerState | None
_NEW = pybreaker.CircuitBreakerState


class LogListener(pybreaker.CircuitBreakerListener):
    """Logs each change once: as a change by the thread of all processes that made it, as news once in the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str | None, str] = {}

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: _OLD, new_state: _NEW) -> None:
        """Log the change."""
        with self._lock:
            news = self._known.get(cb.name, CircuitState.CLOSED) != new_state.name
            self._known[cb.name] = new_state.name
        if isinstance(cb, SharedBreaker) and cb.changed_it:
            _log.warning("the circuit %s is %s now", cb.name, new_state.name, extra=_code_of(new_state))
        elif news:
            _log.info("the circuit %s was found %s", cb.name, new_state.name)


class MetricListener(pybreaker.CircuitBreakerListener):
    """Sets the gauge to what this process hears; where it asks no more, `observe_circuits` keeps the gauge true."""

    def __init__(self) -> None:
        self._known: set[str | None] = set()

    def before_call(self, cb: pybreaker.CircuitBreaker, *_call: object, **_options: object) -> None:
        """Begin the gauge of a circuit that has never changed."""
        if cb.name not in self._known:
            self._set(cb, cb.current_state)

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: _OLD, new_state: _NEW) -> None:
        """Set the gauge."""
        self._set(cb, new_state.name)

    def _set(self, cb: pybreaker.CircuitBreaker, state: str) -> None:
        self._known.add(cb.name)
        CIRCUIT_STATE.labels(cb.name).set(_LEVELS[CircuitState(state)])


def observe_circuits(views: Iterable[CircuitView]) -> None:
    """Set the gauges of circuits to what was looked up."""
    for view in views:
        CIRCUIT_STATE.labels(view.name).set(_LEVELS[view.state])


class SentryListener(pybreaker.CircuitBreakerListener):
    """Leaves a breadcrumb of each change, and an event for each opening; nothing where Sentry is not set up."""

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: _OLD, new_state: _NEW) -> None:
        """Tell Sentry of the change."""
        if not sentry_sdk.get_client().is_active():
            return
        told = f"the circuit {cb.name} is {new_state.name}"
        sentry_sdk.add_breadcrumb(category="circuit", message=told, level="warning")
        if new_state.name == CircuitState.OPEN and isinstance(cb, SharedBreaker) and cb.changed_it:
            with sentry_sdk.new_scope() as scope:
                scope.set_tag("circuit", str(cb.name))
                scope.fingerprint = ["circuit", str(cb.name)]
                scope.capture_message(told, level="warning")


def _code_of(state: pybreaker.CircuitBreakerState) -> dict[str, Code] | None:
    return {"code": Code.CIRCUIT_OPEN} if state.name == CircuitState.OPEN else None
