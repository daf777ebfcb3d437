"""Listeners: what logs and Sentry hear of circuits: names and states, and nothing of the calls.

Their metric is read by each sidecar.
"""

import logging
import threading

import pybreaker
import redis
import sentry_sdk

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code
from penstock.workers.protection.circuits_breaker import SharedBreaker
from penstock.workers.protection.circuits_view import CircuitState
from penstock.workers.protection.keys import gate_keys

_log = logging.getLogger(__name__)

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


class AuditListener(pybreaker.CircuitBreakerListener):
    """Leaves a note for the audit of a circuit that opened, and of one that closed again, for reports on incidents.

    A probe that fails opens a circuit again, which is the same incident: of that nothing is noted.

    Args:
        client: answers soon or not at all; a note that can't be left is told in the log.
        namespace: of the deployment.
    """

    def __init__(self, client: "redis.Redis", namespace: str) -> None:
        self._client = client
        self._key = gate_keys(namespace).key("audit")
        self._lock = threading.Lock()
        self._open: set[str] = set()

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: _OLD, new_state: _NEW) -> None:
        """Note the change, where this thread made it."""
        name, state = str(cb.name), new_state.name
        with self._lock:
            known = name in self._open
            if state == CircuitState.OPEN:
                self._open.add(name)
            elif state == CircuitState.CLOSED:
                self._open.discard(name)
        if not (isinstance(cb, SharedBreaker) and cb.changed_it):
            return
        if state == CircuitState.CLOSED or (state == CircuitState.OPEN and not known):
            self._note(name, "circuit.closed" if state == CircuitState.CLOSED else "circuit.opened")

    def _note(self, name: str, action: str) -> None:
        entry = audit_entry("penstock", action, name, "")
        try:
            self._client.rpush(self._key, entry.encode())
        except redis.RedisError as error:
            _log.warning("the audit does not hear of %s %s: %s", action, name, type(error).__name__)


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
