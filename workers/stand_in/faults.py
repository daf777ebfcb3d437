"""How the stand-in fails: named faults, chosen by a request itself, by rules, or by a seed with shares.

A request chooses by the header `X-Stand-In-Fault` or the parameter `stand_in_fault`. A rule chooses by operation (such
as `instagram.publish`, with `*` as a wildcard), by account, and by which of those calls. Shares choose at random, the
same for a seed.
"""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from penstock.workers.stand_in.exchange import Request, Response

Ending = Literal["answer", "hang", "reset"]
_PAGE = b"<!DOCTYPE html><html><head><title>Sorry, something went wrong.</title></head><body></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Attributes:
        applied: the request takes effect before that.
        ending: what its sender sees: an answer, nothing, or a broken connection.
        response: the answer; None sends what the platform would have said.
        truncated: the answer's body is cut in half.
        seconds: how long a hang lasts, and how late an answer comes.
    """

    applied: bool
    ending: Ending = "answer"
    response: Response | None = None
    truncated: bool = False
    seconds: float = 0.0


def meta_error(code: int, subcode: int = 0, status: int = 400) -> Response:
    """An error as the Graph interface writes it."""
    error: dict[str, Any] = {"message": "stand-in", "type": "OAuthException", "code": code, "fbtrace_id": "AStandIn1"}
    if subcode:
        error |= {"error_subcode": subcode, "is_transient": False}
    return Response(status, {"error": error})


def google_error(status: int, reason: str) -> Response:
    """An error as YouTube writes it."""
    errors = [{"domain": "youtube", "reason": reason, "message": "stand-in"}]
    return Response(status, {"error": {"code": status, "message": "stand-in", "errors": errors}})


_HTML = Response(500, _PAGE, {"Content-Type": "text/html"})
_AWAY = Response(503, b"upstream connect error", {"Content-Type": "text/plain", "Retry-After": "1"})
_HANG_SECONDS = 30.0

NAMED: Mapping[str, Fault] = {
    "away": Fault(False, response=_AWAY),
    "empty_after": Fault(True, response=Response(200, b"")),
    "hang_after": Fault(True, "hang", seconds=_HANG_SECONDS),
    "hang_before": Fault(False, "hang", seconds=_HANG_SECONDS),
    "html_after": Fault(True, response=_HTML),
    "html_before": Fault(False, response=_HTML),
    "reset_after": Fault(True, "reset"),
    "reset_before": Fault(False, "reset"),
    "slow": Fault(True, seconds=1.0),
    "truncated_after": Fault(True, truncated=True),
    "unknown_code": Fault(False, response=meta_error(987_654)),
    "unknown_code_after": Fault(True, response=meta_error(987_654)),
}


def replying(response: Response, *, applied: bool = False) -> Fault:
    """A fault that answers so."""
    return Fault(applied, response=response)


@dataclass(slots=True)
class Rule:
    """For the calls of an operation, of all accounts or of one: after `after` of them, `times` fail."""

    operation: str
    fault: Fault
    times: int = 1
    after: int = 0
    account: str = ""

    def takes(self, operation: str, account: str) -> bool:
        """Whether this call is one that fails; counts it."""
        if not fnmatchcase(operation, self.operation) or self.times == 0 or self.account not in {"", account}:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Faults:
    """All that is to go wrong. Rules go before shares; `drawn` counts what shares chose, by name."""

    rules: list[Rule] = field(default_factory=list)
    shares: Mapping[str, float] = field(default_factory=dict)
    drawn: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - trials, no secrets
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, operation: str, fault: Fault | str, *, times: int = 1, after: int = 0, account: str = "") -> None:
        """Add a rule; a name stands for the fault of that name."""
        chosen = NAMED[fault] if isinstance(fault, str) else fault
        with self._lock:
            self.rules.append(Rule(operation, chosen, times, after, account))

    def seed(self, seed: int, shares: Mapping[str, float]) -> None:
        """From now on each share of the calls fails so, by chance that the seed decides."""
        unknown = set(shares) - set(NAMED)
        if unknown or sum(shares.values()) > 1:
            raise ValueError(f"shares of known faults, 1 in all at the most, and not {sorted(unknown) or dict(shares)}")
        with self._lock:
            self._random, self.shares = random.Random(seed), dict(shares)  # noqa: S311 - trials, no secrets

    def clear(self) -> None:
        """Nothing fails from now on."""
        with self._lock:
            self.rules, self.shares = [], {}

    def choose(self, operation: str, request: Request) -> Fault | None:
        """What becomes of a request."""
        named = request.headers.get("x-stand-in-fault") or request.fields.get("stand_in_fault")
        if named in NAMED:
            return NAMED[str(named)]
        with self._lock:
            rule = next((rule for rule in self.rules if rule.takes(operation, request.account)), None)
            return rule.fault if rule is not None else self._drawn()

    def _drawn(self) -> Fault | None:
        if not self.shares:
            return None
        drawn = self._random.random()
        for name, share in self.shares.items():
            drawn -= share
            if drawn < 0:
                self.drawn[name] += 1
                return NAMED[name]
        return None

    def with_hang(self, name: str, seconds: float) -> Fault:
        """A named fault that lasts so long."""
        return replace(NAMED[name], seconds=seconds)
