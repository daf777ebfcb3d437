"""Accounts: how each stands, and which of them need a person."""

from typing import Annotated

from fastapi import APIRouter, Query

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.text import is_storable
from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.overview import AccountsFilter
from penstock.workers.sidecar.access.require import AsViewer
from penstock.workers.sidecar.api.post_bodies import AccountsPage
from penstock.workers.sidecar.services import ServicesOf

router = APIRouter(prefix="/api/v1", tags=["accounts"])

Word = Annotated[str | None, Query(max_length=500)]


@router.get("/accounts", response_model=AccountsPage)
def list_accounts(
    services: ServicesOf,
    _viewer: AsViewer,
    state: AccountState | None = None,
    platform: Word = None,
    tenant: Word = None,
    owner: Word = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> dict[str, object]:
    """Accounts by id, each with the posts that wait for it. Never their tokens."""
    for name, text in (("platform", platform), ("tenant", tenant), ("owner", owner)):
        if not is_storable(text or ""):
            raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"{name}: it has what can't be stored")
    chosen = AccountsFilter(state, platform, tenant, owner)
    answer = services.known.read(
        ("accounts", chosen, limit, cursor), lambda: services.accounts.list(chosen, limit=limit, cursor=cursor)
    )
    return {"items": [one.as_dict() for one in answer.value.items], "next": answer.value.next, **answer.as_dict()}
