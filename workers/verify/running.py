"""All checks at once, each with a time-out of its own, and one for all of them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.verify.result import Outcome, Result, Verification

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Attributes:
        name: of its result, where it ends by an error or not in time.
        look: gives one result or several.
        limit: how long it may take.
        remedy: what to do where it does not end in time.
    """

    name: str
    look: Callable[[], Iterable[Result]]
    limit: timedelta
    remedy: str = "See the server that it asks."


def run_checks(checks: Sequence[Check], limit: timedelta) -> Verification:
    """Run them all; takes `limit` at the most, whatever hangs."""
    begun = time.monotonic()
    flights = [_Flight(check) for check in checks]
    results = [result for flight in flights for result in flight.results(begun + limit.total_seconds())]
    return Verification(results, time.monotonic() - begun)


class _Flight:
    """A check under way. Its thread keeps no process from its end."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Result] = []
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"penstock-verify-{check.name}", daemon=True)
        self._thread.start()

    def results(self, at_the_latest: float) -> list[Result]:
        """What was found by the end of the check's time, or at that moment of the monotonic clock."""
        ends_at = min(self._begun + self._check.limit.total_seconds(), at_the_latest)
        self._thread.join(max(0.0, ends_at - time.monotonic()))
        if not self._thread.is_alive():
            return list(self._found)
        took = time.monotonic() - self._begun
        late = UnavailableError(Code.REQUEST_TIMEOUT, f"no end within {took:.1f} s", remedy=self._check.remedy)
        return [*self._found, Result.of_error(self._check.name, late).after(took)]

    def _run(self) -> None:
        since = self._begun
        try:
            for result in self._check.look():
                now = time.monotonic()
                self._found.append(result.after(result.seconds or now - since))
                since = now
        except PenstockError as error:
            self._found.append(Result.of_error(self._check.name, error).after(time.monotonic() - since))
        except Exception as error:
            # Its words may quote a value, so its type has to do; the log of a run that asks for it has the place.
            _log.debug("the check %s failed", self._check.name, exc_info=error)
            told = f"the check itself failed ({type(error).__name__})"
            remedy = "Tell whoever maintains Penstock, with the check's name."
            failed = Result(self._check.name, Outcome.FAIL, told, remedy, str(Code.INTERNAL_ERROR))
            self._found.append(failed.after(time.monotonic() - since))
