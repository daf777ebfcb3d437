"""Dead letters as a stream of JSON objects, however many: no more than a page of them is in memory."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from penstock.schemas.errors import PenstockError
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import Letter
from penstock.workers.dead_letters.payloads import read_json, redacted
from penstock.workers.dead_letters.replay_payloads import payloads_of
from penstock.workers.dead_letters.search import LetterSearch

_PAGE = 100
#: Payloads that are read together; a larger message is read alone.
_SMALL_BYTES = 64 * 1024


def export(
    search: LetterSearch, transactions: Transactions, letter_filter: LetterFilter, *, revealed: bool = False
) -> Iterator[dict[str, Any]]:
    """The letters that the filter means, oldest first, each with its `payload` (None where it can't be read).

    Stable: what dies meanwhile is none of it, and a letter whose state changes is there once or not at all. With
    `revealed` payloads are as they are, which the caller has recorded before; otherwise they are redacted.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID`.
        PenstockError: of the family `STORAGE_`, in the middle perhaps.
    """
    now = datetime.now(UTC)
    until = now if letter_filter.until is None else min(now, letter_filter.until)
    bounded, cursor = replace(letter_filter, until=until), None
    while True:
        page = search.list(bounded, limit=_PAGE, cursor=cursor, newest_first=False)
        payloads = _payloads(transactions, page.items)
        for letter in page.items:
            yield letter.as_dict() | {"payload": _shown(letter, payloads, search, revealed=revealed)}
        cursor = page.next
        if cursor is None:
            return


def _payloads(transactions: Transactions, letters: Any) -> dict[UUID, bytes]:
    small = [letter.dead_id for letter in letters if letter.message_bytes <= _SMALL_BYTES]
    return transactions.run(lambda transaction: payloads_of(transaction.connection, small)) if small else {}


def _shown(letter: Letter, payloads: dict[UUID, bytes], search: LetterSearch, *, revealed: bool) -> Any:
    payload = payloads.get(letter.dead_id)
    if payload is None and letter.message_bytes > _SMALL_BYTES:
        try:
            payload = search.payload(letter.dead_id)
        except PenstockError as error:
            if error.code.startswith("STORAGE_"):
                raise
    if payload is None:
        return None
    found = read_json(payload)
    return found if revealed else redacted(letter.kind, found)
