"""The interface of a platform: prepare without anybody seeing it, then one visible step, then look at what is there.

A caller stores what `prepare` returns before its next call, and that a try begins before it calls `publish`. A call
that does not come to its value raises `PlatformFault`, and nothing else that the network or the platform can cause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from penstock.schemas.post_content import ContentFault, PostContent
from penstock.workers.platforms.answers import LimitFact
from penstock.workers.protection.limits import LimitUse


class Secret(Protocol):
    """A token in memory: its `repr` hides it. Pydantic's `SecretStr` is one."""

    def get_secret_value(self) -> str:
        """The token itself."""
        ...


@dataclass(frozen=True, slots=True)
class AccountRef:
    """The account that a post goes to; `external_id` is the platform's id of it."""

    account_id: str
    platform: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Publication:
    """A post on its way to a platform, as it is stored.

    Attributes:
        post_id: a stable text; what a platform takes as an idempotency key is made of it.
        handle: names what was prepared; stored before the visible step.
        state: the platform's own notes as JSON: containers, upload session, offset. Never holds a token.
        armed_at: when the first visible try began; None before it.
        tries: visible tries that began before this one.
    """

    post_id: str
    account: AccountRef
    content: PostContent
    handle: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    external_id: str | None = None
    url: str | None = None
    armed_at: datetime | None = None
    tries: int = 0

    def prepared(self, prepared: "Prepared") -> "Publication":
        """This publication with what `prepare` returned."""
        return replace(self, handle=prepared.handle, state=prepared.state)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One step of preparation is done; store it. Where it is not `ready`, wait for `wait` and prepare again."""

    handle: str | None
    state: Mapping[str, Any]
    ready: bool
    wait: timedelta = timedelta(0)
    limit_facts: tuple[LimitFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """It is there. `external_id` is None where the platform says so without telling the id."""

    external_id: str | None
    url: str | None = None
    limit_facts: tuple[LimitFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The look-up found the post: adopt it as published."""

    external_id: str | None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The look-up found nothing.

    Attributes:
        certain: nothing was published, or publishing again can't make a second one. Otherwise look again a few times
            over some minutes before one more try.
        handle_usable: the next step is `publish` with the same handle; otherwise prepare anew without handle and state.
        resume: the next step is `prepare` with the same handle: an upload has more to send.
    """

    certain: bool
    handle_usable: bool = True
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The look-up can't tell: an operator has to settle it. `reason` is in our words."""

    reason: str


Sighting = Found | NotFound | Unknown


class Platform(Protocol):
    """One platform. Safe to share between threads; keeps nothing of a publication."""

    name: str
    #: The circuit that guards its calls.
    circuit: str

    def limits(self, account: AccountRef) -> Sequence[LimitUse]:
        """What one publication takes of which limits."""
        ...

    def validate(self, content: PostContent) -> Sequence[ContentFault]:
        """All that is wrong with a post for this platform; empty where it can be scheduled. Asks nobody."""
        ...

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Make one invisible step. Raises `PlatformFault`."""
        ...

    def publish(self, publication: Publication, token: Secret) -> Published:
        """Make the visible step, once. Raises `PlatformFault`."""
        ...

    def confirm(self, publication: Publication, token: Secret) -> Published:
        """Read back what was published. A fault here never undoes a publication. Raises `PlatformFault`."""
        ...

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Whether an earlier visible try made the post. Raises `PlatformFault` where it can't be asked now."""
        ...
