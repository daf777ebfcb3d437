"""All that the door needs: credentials, sessions, the throttle, and where it is noted."""

import secrets
from dataclasses import dataclass, field

from penstock.producers.queue.refusals import prefix_of
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.sidecar.access.audit import AuditNotes
from penstock.workers.sidecar.access.credentials import Credentials
from penstock.workers.sidecar.access.require import NotLoggedInError
from penstock.workers.sidecar.access.sessions import Session, Sessions
from penstock.workers.sidecar.access.throttle import LogInThrottle


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

    def log_in(self, name: str, token: str, address: str) -> Session:
        """Begin a session for whoever has the token.

        Raises:
            NotLoggedInError: `AUTH_CREDENTIAL_INVALID`, alike whether the name is known or not.
            ThrottledError: `RATE_LIMIT_EXCEEDED`, after failures; nothing was compared.
        """
        wait = self.throttle.wait_seconds(name, address)
        place = prefix_of(address)
        if wait > 0:
            self.audit.note_refusal("unknown", "access.log-in-refused", place, str(Code.RATE_LIMIT_EXCEEDED))
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
            self.audit.note_refusal(known, "access.log-in-refused", place)
            raise NotLoggedInError(Code.AUTH_CREDENTIAL_INVALID, "name and token don't belong together")
        self.throttle.succeeded(name, address)
        self.audit.note(name, "access.log-in", place, details={"role": str(credential.role)})
        return self.sessions.begin(credential.name, credential.mark)

    def log_out(self, session: Session, address: str) -> None:
        """End a session."""
        self.sessions.end(session)
        if session.name is not None:
            self.audit.note(session.name, "access.log-out", prefix_of(address))

    def refuse_token(self, address: str) -> None:
        """Note that a program came with a token that is none; one with an old token asks for ever."""
        self.audit.note_refusal("unknown", "access.token-refused", prefix_of(address))


def new_secret() -> str:
    """A secret for one process's sessions."""
    return secrets.token_urlsafe(32)
