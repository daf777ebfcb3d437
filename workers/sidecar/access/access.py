"""All that the door needs: credentials, sessions, the throttle, and where it is noted."""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.sidecar.access.audit import AuditNotes
from penstock.workers.sidecar.access.credentials import Credentials
from penstock.workers.sidecar.access.require import NotLoggedInError
from penstock.workers.sidecar.access.sessions import Session, Sessions
from penstock.workers.sidecar.access.throttle import LogInThrottle, network_of

#: Refused tokens of one place are noted once in this time: a program with an old token asks for ever.
_TOKEN_NOTED_EVERY_SECONDS = 60.0
_PLACES = 1_000


class ThrottledError(PenstockError):
    """Raised when log-ins failed too often; `details` has `retry_after_seconds`."""


@dataclass(slots=True)
class Access:
    """The door. Safe to share between threads.

    Attributes:
        hosts: names by which the sidecar may be asked besides loopback's own.
    """

    credentials: Credentials
    sessions: Sessions
    audit: AuditNotes
    hosts: frozenset[str] = frozenset()
    throttle: LogInThrottle = field(default_factory=LogInThrottle)
    _refused: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def log_in(self, name: str, token: str, address: str) -> Session:
        """Begin a session for whoever has the token.

        Raises:
            NotLoggedInError: `AUTH_CREDENTIAL_INVALID`, alike whether the name is known or not.
            ThrottledError: `RATE_LIMIT_EXCEEDED`, after failures; nothing was compared.
        """
        wait = self.throttle.wait_seconds(name, address)
        if wait > 0:
            raise ThrottledError(
                Code.RATE_LIMIT_EXCEEDED,
                "too many log-ins failed",
                remedy=f"Try again in {int(wait) + 1} seconds.",
                details={"retry_after_seconds": int(wait) + 1},
            )
        credential = self.credentials.check(name, token)
        if credential is None:
            self.throttle.failed(name, address)
            # What was typed as a name can be a token in the wrong field, so an unknown one is not noted.
            known = name if self.credentials.named(name) is not None else "unknown"
            self.audit.note(known, "access.log-in-refused", address)
            raise NotLoggedInError(Code.AUTH_CREDENTIAL_INVALID, "name and token don't belong together")
        self.throttle.succeeded(name, address)
        self.audit.note(name, "access.log-in", address, details={"role": str(credential.role)})
        return self.sessions.begin(credential.name, credential.mark)

    def log_out(self, session: Session, address: str) -> None:
        """End a session."""
        self.sessions.end(session)
        if session.name is not None:
            self.audit.note(session.name, "access.log-out", address)

    def refuse_token(self, address: str) -> None:
        """Note that a program came with a token that is none."""
        place, now = network_of(address), time.monotonic()
        with self._lock:
            noted_at = self._refused.get(place)
            if noted_at is not None and now - noted_at < _TOKEN_NOTED_EVERY_SECONDS:
                return
            self._refused[place] = now
            while len(self._refused) > _PLACES:
                self._refused.popitem(last=False)
        self.audit.note("unknown", "access.token-refused", address)


def new_secret() -> str:
    """A secret for one process's sessions."""
    return secrets.token_urlsafe(32)
