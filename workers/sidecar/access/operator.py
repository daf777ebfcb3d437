"""Who asks the sidecar for something, and what that one may do."""

from dataclasses import dataclass
from enum import StrEnum

#: The name under which loopback acts where no credential is set.
LOOPBACK = "loopback"


class Role(StrEnum):
    """What an operator may do; each role may do what those before it may."""

    VIEWER = "viewer"  # looks, and sees no redacted value
    OPERATOR = "operator"  # pauses, replays, discards
    ADMIN = "admin"  # reveals what is redacted, and edits payloads

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who is known. `session` is the browser's session, None for a program."""

    name: str
    role: Role
    session: str | None = None
