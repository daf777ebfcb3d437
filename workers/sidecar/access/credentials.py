"""Who may log in: names, roles, and the hashes of their tokens.

A token is 256 random bits, so a plain SHA-256 keeps it: there is no dictionary to try, and a slow hash would only help
those who want to keep the server busy.
"""

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.sidecar.access.operator import LOOPBACK, Role

_PREFIX = "pst_"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LOOK_EVERY_SECONDS = 2.0
#: Compared with where the name is unknown, so that the answer takes as long.
_NOBODYS = "0" * 64


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """One who may log in; `digest` is the SHA-256 of the token, as 64 hexadecimal digits."""

    name: str
    role: Role
    digest: str

    @property
    def line(self) -> str:
        """As it stands in PENSTOCK_SIDECAR_CREDENTIALS."""
        return f"{self.name}:{self.role}:{self.digest}"

    @property
    def mark(self) -> str:
        """Changes with anything of it, so that sessions of the former one end."""
        return sha256(self.line.encode()).hexdigest()[:16]


def make_credential(name: str, role: Role) -> tuple[Credential, str]:
    """A new credential, and its token, which is kept nowhere.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the name is not usable.
    """
    if not _NAME.fullmatch(name) or name == LOOPBACK:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"{name[:64]!r} is no name for a credential",
            remedy=f"Take 1 to 64 letters, digits or . _ @ -, and not {LOOPBACK!r}.",
        )
    token = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    return Credential(name, role, _digest(token)), token


def parse_credentials(text: str) -> dict[str, Credential]:
    """Read lines `name:role:hash`; blank lines and those that begin with # are left out.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, naming the line and never what it says.
    """
    found: dict[str, Credential] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        credential = _parse_line(line.strip(), number)
        if credential.name in found:
            raise _fault(number, "its name is there twice")
        found[credential.name] = credential
    return found


class Credentials:
    """The credentials of now. Those of a file are read again when it changes, so that one can be taken away at once.

    Args:
        text: the lines.
        reread: gives the lines of now, asked every 2 s at the most; None where they can't change.
    """

    def __init__(self, text: str, reread: Callable[[], str] | None = None) -> None:
        self._text = text
        self._found = parse_credentials(text)
        self._reread = reread
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()

    @property
    def any(self) -> bool:
        """Whether there is any; those of a file that was emptied count as there, and let nobody in."""
        return bool(self._text.strip()) or bool(self._now())

    def named(self, name: str) -> Credential | None:
        """The credential of that name."""
        return self._now().get(name)

    def of_token(self, token: str) -> Credential | None:
        """Whose token that is. Each is compared, so that the time tells nothing."""
        digest = _digest(token)
        found = None
        for credential in self._now().values():
            if hmac.compare_digest(credential.digest, digest):
                found = credential
        return found

    def check(self, name: str, token: str) -> Credential | None:
        """The credential, where name and token belong together; takes as long for a name that is unknown."""
        credential = self._now().get(name)
        expected = credential.digest if credential is not None else _NOBODYS
        return credential if hmac.compare_digest(expected, _digest(token)) else None

    def _now(self) -> Mapping[str, Credential]:
        if self._reread is None:
            return self._found
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY_SECONDS:
                self._looked_at = time.monotonic()
                self._look(self._reread)
            return self._found

    def _look(self, reread: Callable[[], str]) -> None:
        try:
            text = reread()
            if text != self._text:
                self._found = parse_credentials(text)
                self._text = text or "#"
        except (PenstockError, OSError, UnicodeDecodeError):
            # A file in the middle of being written; what is known stays until it can be read.
            return


def _digest(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


def _parse_line(line: str, number: int) -> Credential:
    name, _, rest = line.partition(":")
    role, _, digest = rest.partition(":")
    if not _NAME.fullmatch(name) or name == LOOPBACK:
        raise _fault(number, "its name is not usable")
    if role not in set(Role):
        raise _fault(number, f"its role is none of {', '.join(Role)}")
    if not _HASH.fullmatch(digest):
        raise _fault(number, "its hash is not 64 hexadecimal digits")
    return Credential(name, Role(role), digest)


def _fault(number: int, what: str) -> InvalidInputError:
    return InvalidInputError(
        Code.CONFIG_INVALID,
        f"line {number} of PENSTOCK_SIDECAR_CREDENTIALS: {what}",
        remedy="Make the line by: penstock sidecar credential NAME --role ROLE",
    )
