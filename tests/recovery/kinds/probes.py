"""The payloads of probes: jobs that leave a row behind and do on their way what their payload asks for.

Written as a user would: outside Penstock, found by `PYTHONPATH`.
"""

from typing import Annotated, Literal

from pydantic import Field

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue

Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Probe(Payload, kind="probe.guarded", queue=Queue.SUBMISSIONS):
    """Leave one row in `effects_seen`, once."""

    name: str
    fail: Count = Field(default=0, description="attempts that fail, after the row was written, before one succeeds")
    die: Count = Field(default=0, description="starts at which the job kills its worker, counted from the first")
    postpone: Count = Field(default=0, description="starts at which it is postponed, counted from the first")
    postpone_seconds: float = 0.2
    sleep_seconds: float = 0
    #: In Python before the transaction begins, in PostgreSQL within it.
    sleep_in: Literal["python", "postgresql"] = "python"

    def idempotency_key(self) -> str:
        """The name."""
        return self.name


class UnguardedProbe(Probe, kind="probe.unguarded", queue=Queue.SUBMISSIONS):
    """Leave a row at each run: what happens without a ledger."""


class GroupedProbe(Probe, kind="probe.grouped", queue=Queue.SUBMISSIONS):
    """Leave one row in `effects_seen`, once, together with all others of the group."""


class ContendingProbe(Payload, kind="probe.contending", queue=Queue.SUBMISSIONS):
    """Add one to a row of `contended`, or to two, and lose against another transaction at the first try."""

    name: str
    #: The rows to add to, in this order: crosswise to those of the job of the same `pair`, for a deadlock.
    rows: list[str]
    #: The two jobs that meet in a deadlock; None for a serialization failure.
    pair: str | None = None

    def idempotency_key(self) -> str:
        """The name."""
        return self.name
