"""An account on a platform, as it is stored."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from penstock.workers.accounts.token_keys import Tokens


class AccountState(StrEnum):
    """Whether an account's posts go out."""

    ACTIVE = "active"
    #: The platform takes its token no more, and no machine can change that. Its posts wait.
    REAUTHORIZE = "reauthorize"
    #: An operator took it out of use. Its posts wait.
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be added. `external_id` is the platform's id of it."""

    account_id: UUID
    owner: str
    platform: str
    external_id: str
    name: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """An account without its tokens."""

    account_id: UUID
    tenant: str
    owner: str
    platform: str
    external_id: str
    name: str
    state: str
    state_code: str | None
    state_changed_at: datetime
    key_id: str
    tokens_version: int
    token_expires_at: datetime | None
    refresh_due_at: datetime | None
    refreshed_at: datetime
    refresh_code: str | None
    metadata: dict[str, Any]
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The account as commands and endpoints show it."""
        return {
            "account_id": str(self.account_id),
            "tenant": self.tenant,
            "owner": self.owner,
            "platform": self.platform,
            "external_id": self.external_id,
            "name": self.name,
            "state": self.state,
            "state_code": self.state_code,
            "state_changed_at": self.state_changed_at.isoformat(),
            "key_id": self.key_id,
            "token_expires_at": _shown(self.token_expires_at),
            "refresh_due_at": _shown(self.refresh_due_at),
            "refreshed_at": self.refreshed_at.isoformat(),
            "refresh_code": self.refresh_code,
            "metadata": self.metadata,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Authorisation:
    """An account with tokens to use. A token that is refused is told of by its `version`."""

    account_id: UUID
    platform: str
    external_id: str
    tokens: Tokens
    version: int
    expires_at: datetime | None

    def wants_renewal(self, now: datetime, ahead: timedelta) -> bool:
        """Whether the token ends within `ahead`, so that it had better be refreshed before it is used."""
        return self.expires_at is not None and self.expires_at - now <= ahead


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
