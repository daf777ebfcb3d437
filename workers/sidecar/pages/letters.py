"""Dead letters as a list with filters, and what is done to several at once."""

from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.filters import chips, mapping_of, pairs_of
from penstock.workers.sidecar.pages.formatting import plural
from penstock.workers.sidecar.pages.forms import Question, SentForm, ask
from penstock.workers.sidecar.pages.rendering import PageFor, see

router = APIRouter(include_in_schema=False)

#: Letters that one form can name; more are chosen by a filter.
CHOSEN_LIMIT = 200


@router.get("/dead-letters/list")
def letters(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """The letters that a filter chooses, newest first, fifty a page."""
    pairs = pairs_of(page.request.query_params)
    query = mapping_of(pairs)
    found = page.desk.letters(query, cursor)
    counted = page.desk.count(query)
    return page.show("letters.html", letters=found, count=counted, pairs=pairs, chips=chips(pairs), query_map=query)


@router.post("/dead-letters/chosen")
def chosen(page: PageFor, sent: SentForm) -> Response:
    """Replay or discard the letters that were chosen: on to the dry run, or to the confirming page."""
    page.may(Role.OPERATOR)
    ids = letter_ids(sent.all("id"))
    if sent.one("act") == "replay":
        return see("/replays/new?" + urlencode([("id", str(one)) for one in ids]))
    question = Question(
        f"Discard {plural(len(ids), 'dead letter')}?",
        [
            "Their jobs will not run, and have no effect.",
            "It can't be taken back. The letters stay in the records until their retention ends.",
        ],
        f"Discard {plural(len(ids), 'letter')}",
        "/dead-letters/list",
        danger=True,
    )
    if not sent.is_confirmed:
        return ask(page, sent, question)
    count = page.desk.discard(ids, page.operator.name, sent.reason)
    return see("/dead-letters/list", "discarded" if count else "already")


def letter_ids(values: list[str]) -> list[UUID]:
    """The ids that a form names.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where there is none, too many, or one that is no id.
    """
    if not 0 < len(values) <= CHOSEN_LIMIT:
        raise InvalidInputError(Code.REQUEST_USAGE, f"choose 1 to {CHOSEN_LIMIT} letters, or replay by a filter")
    return [letter_id(value) for value in values]


def letter_id(value: str) -> UUID:
    """An id.

    Raises:
        InvalidInputError: `REQUEST_USAGE`.
    """
    try:
        return UUID(value)
    except ValueError:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{value[:80]!r} is no id of a letter") from None
