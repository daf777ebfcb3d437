"""How often a log-in may be tried: after some failures in a row each further one doubles the wait.

Who fails from one address keeps nobody else out: an address waits for its own failures; a name's wait is short, and
does not hold for addresses from which that name has logged in.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE_FAILURES = 3
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
#: Enough against guessing by many addresses at once; with 256 random bits there is nothing to guess.
NAME_WAIT_SECONDS = 2.0
#: Failures are forgotten after this.
FORGOTTEN_AFTER_SECONDS = 3_600.0
_KEPT = 10_000


@dataclass(slots=True)
class _Record:
    failures: int = 0
    free_at: float = 0.0
    last_at: float = 0.0


class LogInThrottle:
    """Counts failures by address and by name, in memory. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_seconds(self, name: str, address: str) -> float:
        """How long from now a try would be refused; 0 where it may be made."""
        place, now = network_of(address), self._clock()
        with self._lock:
            keys = [("address", place)]
            if (name, place) not in self._trusted:
                keys.append(("name", name))
            waits = [self._records[key].free_at - now for key in keys if key in self._records]
        return max([0.0, *waits])

    def failed(self, name: str, address: str) -> None:
        """Note a try that failed."""
        with self._lock:
            self._note(("address", network_of(address)), LONGEST_WAIT_SECONDS)
            self._note(("name", name), NAME_WAIT_SECONDS)

    def succeeded(self, name: str, address: str) -> None:
        """Note a try that succeeded."""
        place = network_of(address)
        with self._lock:
            self._records.pop(("address", place), None)
            self._trusted[name, place] = None
            while len(self._trusted) > _KEPT:
                self._trusted.popitem(last=False)

    def _note(self, key: tuple[str, str], longest: float) -> None:
        now = self._clock()
        record = self._records.pop(key, _Record())
        if now - record.last_at > FORGOTTEN_AFTER_SECONDS:
            record = _Record()
        record.failures += 1
        record.last_at = now
        over = record.failures - FREE_FAILURES
        if over >= 0:
            record.free_at = now + min(longest, FIRST_WAIT_SECONDS * 2.0 ** min(over, 20))
        self._records[key] = record
        while len(self._records) > _KEPT:
            self._records.popitem(last=False)


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 of an IPv6 one, since a host has all of that."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
