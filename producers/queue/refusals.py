"""Counts who was refused, so that a flood of refusals becomes a few rows of the audit: two a minute and network."""

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.producers.queue.audit import OperatorAction, audit_entry

#: How long refusals of one kind are counted before they are told.
COUNTED_FOR = timedelta(minutes=1)
#: Kinds that are counted at once; those beyond are not told apart.
KINDS = 500
ELSEWHERE = "many others"

_IPV4_PREFIX, _IPV6_PREFIX = 24, 48


def prefix_of(address: str) -> str:
    """The network that an address is of: the /24 of an IPv4 address, the /48 of an IPv6 one.

    It says where somebody came from as well as an incident needs, and not which person it was.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, _IPV4_PREFIX), strict=False))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of refusal: who is known to have been refused, what was (an action of the audit), where, and why."""

    actor: str
    action: str
    place: str
    code: str = ""


@dataclass(slots=True)
class _Tally:
    began: float
    since: datetime
    count: int = 0


class RefusalCounts:
    """Counts refusals that come after the first of their minute. Safe to share between threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: dict[Refusal, _Tally] = {}

    def note(self, refusal: Refusal) -> OperatorAction | None:
        """Note one: the first of its minute as an action of the audit, to be recorded now; None where it is counted."""
        with self._lock:
            if refusal not in self._tallies and len(self._tallies) >= KINDS:
                refusal = Refusal("unknown", refusal.action, ELSEWHERE)
            tally = self._tallies.get(refusal)
            if tally is not None:
                tally.count += 1
                return None
            self._tallies[refusal] = _Tally(self._clock(), datetime.now(UTC))
        return audit_entry(refusal.actor, refusal.action, refusal.place, "", _details(refusal))

    def take(self, *, every: bool = False) -> list[OperatorAction]:
        """What was counted and whose minute is over (or all of it), as actions of the audit."""
        with self._lock:
            ended = self._clock() - COUNTED_FOR.total_seconds()
            due = {refusal: tally for refusal, tally in self._tallies.items() if every or tally.began <= ended}
            for refusal in due:
                del self._tallies[refusal]
        return [_entry(refusal, tally) for refusal, tally in due.items() if tally.count]

    def __len__(self) -> int:
        return len(self._tallies)


def _entry(refusal: Refusal, tally: _Tally) -> OperatorAction:
    counted = {"count": tally.count, "since": tally.since.isoformat(), "until": datetime.now(UTC).isoformat()}
    return audit_entry(refusal.actor, refusal.action, refusal.place, "", _details(refusal) | counted)


def _details(refusal: Refusal) -> dict[str, Any]:
    return {"code": refusal.code} if refusal.code else {}
