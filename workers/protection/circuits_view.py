"""Circuits as they are seen: their states, and the error of a call that one does not let in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from penstock.producers.queue.instants import instant
from penstock.schemas.errors import Code, UnavailableError


class CircuitState(StrEnum):
    """What a circuit does with calls. The words are pybreaker's."""

    #: Calls go through; failures are counted.
    CLOSED = "closed"
    #: One call tries, the others are refused.
    HALF_OPEN = "half-open"
    #: Calls are refused.
    OPEN = "open"


class CircuitOpenError(UnavailableError):
    """Raised for a call that a circuit does not let in: it is open, another call tries, or the ramp left it out.

    Attributes:
        circuit: the circuit's name.
        retry_after: when it makes sense to ask again.
        blocked_by: the gate, as job records name it.
    """

    retry_after: timedelta

    def __init__(self, circuit: str, retry_after: timedelta, told: str = "lets no call in for now") -> None:
        self.circuit = circuit
        self.blocked_by = f"circuit:{circuit}"
        seconds = retry_after.total_seconds()
        super().__init__(
            Code.CIRCUIT_OPEN,
            f"the circuit {circuit} {told}; ask again in {seconds:.1f} s",
            details={"circuit": circuit, "retry_after_seconds": seconds},
            retry_after=retry_after,
        )


@dataclass(frozen=True, slots=True)
class Forced:
    """What an operator forced a circuit to be.

    Attributes:
        until: when that ends by itself; None for never.
    """

    state: CircuitState
    by: str
    reason: str
    at: datetime | None
    until: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "state": str(self.state),
            "by": self.by,
            "reason": self.reason,
            "at": _text(self.at),
            "until": _text(self.until),
        }


@dataclass(frozen=True, slots=True)
class CircuitView:
    """A circuit at one instant of Redis's clock.

    Attributes:
        share: percent of the calls that are let in; below 100 in the ramp after an opening.
        failures: those that count and have not opened it. Some may have aged out since the last one.
        opened_at: when it was opened, while it is open or half-open.
        open_until: when it is half-open, while it is open; None where an operator opened it without an end.
        probe_until: until when the one call that tries has its reservation.
    """

    name: str
    state: CircuitState
    share: int
    failures: int
    opened_at: datetime | None
    open_until: datetime | None
    probe_until: datetime | None
    forced: Forced | None

    @classmethod
    def decode(cls, now: int, answer: Sequence[Any]) -> Self:
        """Read an entry of the step `circuit_list`."""
        name, state, share, flat = answer
        fields = {flat[at].decode(): flat[at + 1].decode() for at in range(0, len(flat), 2)}
        found = CircuitState(state.decode())
        return cls(
            name=name.decode(),
            state=found,
            share=int(share),
            failures=len(fields.get("failures", "").split()),
            opened_at=None if found is CircuitState.CLOSED else instant(fields.get("opened_at")),
            open_until=instant(fields.get("open_until")) if found is CircuitState.OPEN else None,
            probe_until=_later(now, fields.get("probe_until")),
            forced=_forced(now, fields),
        )

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; instants are RFC 3339 in UTC."""
        return {
            "circuit": self.name,
            "state": str(self.state),
            "share": self.share,
            "failures": self.failures,
            "opened_at": _text(self.opened_at),
            "open_until": _text(self.open_until),
            "probe_until": _text(self.probe_until),
            "forced": self.forced and self.forced.as_dict(),
        }


def _forced(now: int, fields: Mapping[str, str]) -> Forced | None:
    until = fields.get("forced_until")
    if "forced" not in fields or (until and int(until) <= now):
        return None
    return Forced(
        CircuitState(fields["forced"]),
        fields.get("forced_by", ""),
        fields.get("forced_reason", ""),
        instant(fields.get("forced_at")),
        instant(until),
    )


def _later(now: int, ms: str | None) -> datetime | None:
    return instant(ms) if ms and int(ms) > now else None


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
