"""Operators' limits as metrics."""

import re
from collections.abc import Collection

from penstock.workers.protection.limits_view import LimitState
from penstock.workers.telemetry.metrics import LIMIT_REMAINING, LIMITS_OVERRIDDEN

#: Keys that may be a label: these names are few. Accounts' and tenants' are ids, and a pattern has no units of its own.
_FEW = re.compile(r"(platform|kind):[^/:*]+(/(platform|kind):[^/:*]+)*")


def observe_limits(states: Collection[LimitState]) -> None:
    """Set the gauges to what was looked up: the states of all limits that operators have set."""
    LIMITS_OVERRIDDEN.set(len(states))
    LIMIT_REMAINING.clear()
    for state in states:
        if _FEW.fullmatch(state.key) and state.remaining is not None:
            LIMIT_REMAINING.labels(state.key).set(0 if state.blocked else state.remaining)
