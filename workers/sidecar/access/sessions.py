"""A browser's session: a signed cookie, and the token that its forms send back.

The server keeps nothing of a session but those that were ended before their time.
"""

import hmac
import json
import secrets
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256

LIFETIME = timedelta(hours=12)
#: `__Host-` would be refused by browsers where there is no TLS, as on loopback.
COOKIE = "penstock_session"


@dataclass(frozen=True, slots=True)
class Session:
    """One visit of a browser. `name` is None until somebody logs in; `mark` is the credential's at the log-in."""

    id: str
    began_at: int
    name: str | None = None
    mark: str | None = None


class Sessions:
    """Makes and reads cookies, all signed with one key.

    Args:
        secret: the key; a new one ends all sessions.
        clock: seconds since 1970.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._key = sha256(b"penstock sidecar sessions\0" + secret.encode()).digest()
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, name: str | None = None, mark: str | None = None) -> Session:
        """A new session, with an id that nobody can guess."""
        return Session(secrets.token_urlsafe(24), int(self._clock()), name, mark)

    def encode(self, session: Session) -> str:
        """The session as the cookie's value."""
        body = urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode().rstrip("=")
        return f"{body}.{self._sign('session', body)}"

    def decode(self, value: str) -> Session | None:
        """The session of a cookie; None where it is not ours, is over, or was ended."""
        body, _, signature = value.partition(".")
        if not hmac.compare_digest(self._sign("session", body).encode(), signature.encode(errors="replace")):
            return None
        try:
            session = Session(**json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        except (ValueError, TypeError, Base64Error):
            return None
        is_over = self._clock() - session.began_at >= LIFETIME.total_seconds()
        return None if is_over or session.id in self._ended else session

    def end(self, session: Session) -> None:
        """Have the session count no more, though its cookie may still be somewhere."""
        now = self._clock()
        with self._lock:
            self._ended = {known: until for known, until in self._ended.items() if until > now}
            self._ended[session.id] = session.began_at + LIFETIME.total_seconds()

    def csrf_token(self, session: Session) -> str:
        """What the session's forms send back."""
        return self._sign("csrf", session.id)

    def is_csrf_token(self, session: Session, token: str) -> bool:
        """Whether a form of this session sent `token`; takes as long whatever was sent."""
        return hmac.compare_digest(self.csrf_token(session).encode(), token.encode(errors="replace"))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}/{text}".encode(errors="replace"), sha256).hexdigest()
