"""Accounts: which of them need a person, and what waits for them."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.workers.accounts.account import AccountState
from penstock.workers.sidecar.pages.filters import chips, mapping_of, pairs_of
from penstock.workers.sidecar.pages.rendering import PageFor

router = APIRouter(include_in_schema=False)

_FILTERS = ("state", "platform", "owner", "tenant")


@router.get("/accounts")
def accounts(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """Those that must be authorised anew, and all, fifty a page."""
    pairs = pairs_of(page.request.query_params, _FILTERS)
    query = mapping_of(pairs)
    pressing = page.desk.accounts({**query, "state": AccountState.REAUTHORIZE}, None) if "state" not in query else None
    return page.show(
        "accounts.html",
        accounts=page.desk.accounts(query, cursor),
        pressing=pressing,
        pairs=pairs,
        chips=chips(pairs),
        states=list(AccountState),
    )
