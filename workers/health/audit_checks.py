"""What is asked of the audit: that what operators did is sealed in time, and by which anchor."""

import time
from typing import Any

import psycopg

from penstock.workers.audit.chain import chain_state
from penstock.workers.health.report import Check, Status
from penstock.workers.health.words import spoken


def check_audit(connection: psycopg.Connection[Any], limit: float) -> Check:
    """How long actions have waited for their seal; whether the chain is whole, `penstock audit verify` tells.

    Args:
        connection: in autocommit.
        limit: seconds after which it is a warning.
    """
    started = time.perf_counter()
    state = chain_state(connection)
    late = state.oldest.total_seconds()
    is_late = late > limit
    told = "nothing is sealed yet" if state.anchor is None else f"sealed up to {state.anchor}"
    return Check(
        "audit",
        Status.WARNING if is_late else Status.HEALTHY,
        f"{told}; {state.waiting:,} wait",
        seconds=time.perf_counter() - started,
        value=late,
        threshold=limit,
        unit="s",
        sentence=f"What operators did has waited for its seal for {spoken(late)}" if is_late else None,
        step="See that a scheduler runs, and what its loop audit_seals says",
        path="/audit",
        facts={"waiting": state.waiting, "anchor": state.anchor},
    )
