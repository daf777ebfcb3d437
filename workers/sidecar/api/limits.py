"""Rate limits: how they stand, and operators' overrides."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from penstock.workers.protection.limits_control import (
    KEY_LENGTH,
    KEY_PATTERN,
    LARGEST_LIMIT,
    LimitControl,
    NewOverride,
    require_limit_key,
)
from penstock.workers.sidecar.access.require import AsOperator, AsViewer
from penstock.workers.sidecar.api.bodies import Reason, Shown
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["limits"])

LimitKey = Annotated[str, Path(max_length=KEY_LENGTH, pattern=KEY_PATTERN, examples=["account:123", "tenant:*"])]


class LimitOverride(BaseModel):
    """A limit that an operator set for a key or pattern."""

    name: str
    limit: int
    window_seconds: float
    reason: str
    by: str
    at: datetime | None
    expires_at: datetime | None


class LimitBlock(BaseModel):
    """Until when a key is blocked, and why."""

    until: datetime | None
    reason: str


class Limit(BaseModel):
    """How a key stands. `limit` is null where none holds."""

    key: str
    limit: int | None
    window_seconds: float | None
    used: int
    remaining: int | None
    resets_at: datetime | None
    override: LimitOverride | None
    blocked: LimitBlock | None


class LimitList(Shown):
    """Keys in use, blocked keys and overrides, by name."""

    items: list[Limit]
    next: str | None


class SetLimit(Reason):
    """So many units in any window, for a while or for ever."""

    limit: int = Field(ge=0, le=LARGEST_LIMIT, strict=True)
    window_seconds: float = Field(ge=0.01, le=31 * 86_400, strict=True)
    for_seconds: float | None = Field(default=None, ge=0.001, le=366 * 86_400, strict=True)


class LimitChange(BaseModel):
    """What came of it."""

    key: str
    changed: bool


@router.get("/limits", response_model=LimitList)
def list_limits(
    services: ServicesOf,
    _viewer: AsViewer,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> dict[str, object]:
    """A page of keys; `cursor` is the `next` of the page before."""
    answer = services.known.read(("limits", limit, cursor), lambda: services.limits.page(limit, cursor))
    states, following = answer.value
    return {"items": [state.as_dict() for state in states], "next": following, **answer.as_dict()}


@router.put("/limits/{key:path}", response_model=LimitOverride)
def set_limit(key: LimitKey, body: SetLimit, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Set the limit of a key, or of a pattern such as `account:*`, whatever its callers say."""
    lasting = None if body.for_seconds is None else timedelta(seconds=body.for_seconds)
    new = NewOverride(body.limit, timedelta(seconds=body.window_seconds), lasting)
    return _control(services, operator.name).set_override(key, new, body.reason).as_dict()


@router.post("/limits/{key:path}/default", response_model=LimitChange)
def clear_limit(key: LimitKey, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let the callers' own limit hold again."""
    changed = _control(services, operator.name).clear_override(require_limit_key(key), body.reason)
    return {"key": key, "changed": changed}


@router.post("/limits/{key:path}/unblock", response_model=LimitChange)
def unblock_limit(key: LimitKey, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Lift the block that a provider's answer put on a key."""
    changed = _control(services, operator.name).unblock(require_limit_key(key), body.reason)
    return {"key": key, "changed": changed}


def _control(services: Services, actor: str) -> LimitControl:
    return LimitControl(services.client, services.settings.namespace, actor)
