"""Finding dead letters: each filter, pages that stay where they are, and what is known of one."""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.producers.queue.compression import compress
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.settings import WorkerSettings
from tests.recovery.servers import full
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert
from tests.workers.dead_letters.letter_kit import BEGINNING, again, death

Pool = ConnectionPool[psycopg.Connection[Any]]

JOB = uuid.uuid4()
LETTERS = {
    "plain": death(died_at=BEGINNING),
    "other kind": death(kind="letters.other"),
    "other code": death(code="JOB_POISON"),
    "other queue": death(queue="posts"),
    "other tenant": death(tenant="acme"),
    "with subjects": death(
        {"order": "x", "count": 1, "account": "a1", "platform": "instagram", "about": {"form": "f"}}
    ),
    "job": death(job_id=JOB),
    "member": death({"order": "seven", "count": 7000, "ok": True, "none": None, "0": "zero"}),
    "rows": death({"rows": [{"id": "first", "n": 1}, {"id": "second", "n": 2}], "order": "rows"}),
    "words": death(message="the form 'strikes' has no version 9", error="psycopg.errors.UniqueViolation"),
    "unreadable": death(header_ok=False, body=b"", raw=b"\x00\xff", kind="letters.unreadable"),
    "late": death(died_at=BEGINNING + timedelta(days=9)),
    "discarded": death(message="nobody wants it"),
    "surrogates": death({"text": "a\ud800b\x00c"}, message="bad \x00 text \ud800", idempotency_key="batch-77-0001"),
}
GROUP = "group"
ALL = set(LETTERS) - {"discarded"}
FINDS: dict[str, tuple[dict[str, str | list[str]], set[str]]] = {
    "nothing said": ({}, ALL),
    "empty ones": ({"kind": "", "payload": [""]}, ALL),
    "kind": ({"kind": "letters.other"}, {"other kind"}),
    "code": ({"code": "JOB_POISON"}, {"other code"}),
    "queue": ({"queue": "posts"}, {"other queue"}),
    "tenant": ({"tenant": "acme"}, {"other tenant"}),
    "form": ({"form": "f"}, {"with subjects"}),
    "account": ({"account": "a1"}, {"with subjects"}),
    "platform": ({"platform": "instagram"}, {"with subjects"}),
    "all subjects": ({"platform": "instagram", "form": "f", "account": "a1"}, {"with subjects"}),
    "subjects that don't meet": ({"platform": "instagram", "form": "g"}, set()),
    "job": ({"job_id": str(JOB)}, {"job"}),
    "discarded": ({"state": "discarded"}, {"discarded"}),
    "any state": ({"state": "any"}, set(LETTERS)),
    "since": ({"since": "2026-11-09T00:00:00Z"}, {"late"}),
    "until": ({"until": "2026-11-01T01:00:00+01:00"}, set()),
    "until, behind the first": ({"until": "2026-11-01T00:00:00.001Z"}, {"plain"}),
    "ago": ({"since": "2d ago"}, {"late"}),
    "member": ({"payload": "order=seven"}, {"member"}),
    "number": ({"payload": "count=7000"}, {"member"}),
    "true": ({"payload": "ok=true"}, {"member"}),
    "null": ({"payload": "none=null"}, {"member"}),
    "a number that is a name": ({"payload": "0=zero"}, {"member"}),
    "below": ({"payload": "about.form=f"}, {"with subjects"}),
    "position": ({"payload": 'rows.1.id="second"'}, {"rows"}),
    "another position": ({"payload": 'rows.0.id="second"'}, set()),
    "any element": ({"payload": "rows.*.id=second"}, {"rows"}),
    "whole element": ({"payload": 'rows.0={"n":1,"id":"first"}'}, {"rows"}),
    "part of an element": ({"payload": 'rows.0={"n":1}'}, set()),
    "two paths": ({"payload": ["rows.*.id=second", "order=rows"]}, {"rows"}),
    "two paths that don't meet": ({"payload": ["rows.*.id=second", "order=x"]}, set()),
    "word": ({"text": "strikes"}, {"words"}),
    "words in any order": ({"text": "version STRIKES"}, {"words"}),
    "beginning of a word": ({"text": "the form strik"}, {"words"}),
    "beginning within": ({"text": "stri the"}, set()),
    "phrase": ({"text": '"no version"'}, {"words"}),
    "phrase in another order": ({"text": '"version no"'}, set()),
    "or": ({"text": "strikes or poison"}, {"words", "other code"}),
    "not": ({"text": '-"the payload is not usable"'}, {"words", "surrogates"}),
    "end of an error class": ({"text": "errors.UniqueViolation the"}, {"words"}),
    "middle of a job's id": ({"text": str(JOB)[9:30]}, {"job"}),
    "error class": ({"text": "psycopg.errors.UniqueViol"}, {"words"}),
    "code as text": ({"text": "JOB_POISON"}, {"other code"}),
    "job as text": ({"text": str(JOB)}, {"job"}),
    "batch as text": ({"text": "batch-77"}, {"surrogates"}),
    "signs only": ({"text": "&|!:*"}, set()),
    "text and kind": ({"text": "payload", "kind": "letters.other"}, {"other kind"}),
}


@pytest.fixture(scope="module")
def names(database: Database, settings: WorkerSettings) -> Iterator[dict[uuid.UUID, str]]:
    """The names of the letters, which are archived, by id."""
    with open_pool(settings, "penstock-test") as pool:
        transactions = Transactions(pool, settings)
        assert transactions.run(lambda t: insert_letters(t.connection, list(LETTERS.values()))) == len(LETTERS)
        assert transactions.run(lambda t: insert_letters(t.connection, list(LETTERS.values()))) == 0
        assert LetterDecisions(transactions).discard([LETTERS["discarded"].dead_id], "ada", "nobody wants it") == 1
        yield {letter.dead_id: name for name, letter in LETTERS.items()}


@pytest.mark.parametrize(("given", "expected"), FINDS.values(), ids=FINDS.keys())
def test_a_filter_finds_what_it_says(
    names: dict[uuid.UUID, str], search: LetterSearch, given: dict[str, Any], expected: set[str]
) -> None:
    letter_filter = LetterFilter.parse(given, now=BEGINNING + timedelta(days=10))
    for newest_first in (True, False):
        found = search.list(letter_filter, newest_first=newest_first).items
        assert {names[letter.dead_id] for letter in found} == expected
        order = [(letter.died_at, letter.dead_id) for letter in found]
        assert order == sorted(order, reverse=newest_first)
    assert search.count(letter_filter).n == len(expected)
    assert search.count(letter_filter).exact
    # What an address says of it is the same filter.
    query: dict[str, list[str]] = {}
    for name, value in letter_filter.as_query():
        query.setdefault(name, []).append(value)
    assert LetterFilter.parse(query) == letter_filter


@pytest.mark.parametrize("content_rows", [1_500, 3, 1][: 3 if full() else 2], ids=str)
@pytest.mark.parametrize(("given", "expected"), FINDS.values(), ids=FINDS.keys())
def test_the_index_of_contents_finds_the_same(
    names: dict[uuid.UUID, str],
    search: LetterSearch,
    given: dict[str, Any],
    expected: set[str],
    content_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, rows in (("FIRST_ROWS", 1), ("PROBE_ROWS", 2), ("CONTENT_ROWS", content_rows)):
        monkeypatch.setattr(f"penstock.workers.dead_letters.content.{name}", rows)
    chosen = LetterFilter.parse(given, now=BEGINNING + timedelta(days=10))
    for newest_first in (True, False):
        found = search.list(chosen, newest_first=newest_first).items
        assert {names[letter.dead_id] for letter in found} == expected
        order = [(letter.died_at, letter.dead_id) for letter in found]
        assert order == sorted(order, reverse=newest_first)
        # Page by page, each begins where the one before ended.
        paged, cursor = [], None
        while len(paged) < len(expected):
            page = search.list(chosen, limit=2, cursor=cursor, newest_first=newest_first)
            paged += page.items
            cursor = page.next
        assert (paged, cursor) == (found, None)


def test_a_group_is_a_filter(names: dict[uuid.UUID, str], search: LetterSearch) -> None:
    (words,) = search.list(LetterFilter(text="strikes")).items
    assert [letter.dead_id for letter in search.list(LetterFilter(group=words.group)).items] == [words.dead_id]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"knd": "x"}, "knd"),
    "state": ({"state": "dead"}, "state"),
    "became": ({"became": "open"}, "became"),
    "since without offset": ({"since": "2026-11-01T00:00:00"}, "since"),
    "until": ({"until": "yesterday"}, "until"),
    "an instant beyond the calendar": ({"since": "999999w"}, "since"),
    "job": ({"job_id": "17"}, "job_id"),
    "twice": ({"kind": ["a", "b"]}, "kind"),
    "too long": ({"tenant": "x" * 501}, "tenant"),
    "nul": ({"code": "a\x00"}, "code"),
    "an unpaired surrogate": ({"form": "a\ud800"}, "form"),
    "one in a payload": ({"payload": "a=\ud800"}, "payload"),
    "one in a text": ({"text": "\udcff"}, "text"),
    "one in a name": ({"a\ud800": "x"}, "a?"),
    "payload without value": ({"payload": "order"}, "payload"),
    "payload without path": ({"payload": "=x"}, "payload"),
    "payload with a gap": ({"payload": "a..b=1"}, "payload"),
    "payload that can't be stored": ({"payload": 'a="\\u0000"'}, "payload"),
    "too many": ({"payload": ["a=1"] * 9}, "payload"),
}


@pytest.mark.parametrize(("given", "parameter"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_filter_is_refused_by_its_name(given: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        LetterFilter.parse(given)
    assert raised.value.code is Code.REQUEST_FILTER_INVALID
    assert raised.value.details["parameter"] == parameter


@pytest.mark.parametrize("cursor", ["", "x", "bm8", "WyJhIiwxXQ", "é", "WyJsZXR0ZXJzIG5ld2VzdCBmaXJzdCIsIDEsIDJd"])
def test_a_cursor_that_is_none_is_refused(search: LetterSearch, cursor: str) -> None:
    with pytest.raises(InvalidInputError, match="cursor"):
        search.list(LetterFilter(), cursor=cursor)


def test_a_cursor_of_another_order_is_refused(names: dict[uuid.UUID, str], search: LetterSearch) -> None:
    cursor = search.list(LetterFilter(), limit=1).next
    with pytest.raises(InvalidInputError, match="another list"):
        search.list(LetterFilter(), cursor=cursor, newest_first=False)


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_has_bounds(search: LetterSearch, limit: int) -> None:
    with pytest.raises(InvalidInputError, match="limit"):
        search.list(LetterFilter(), limit=limit)


@pytest.mark.parametrize("state", [LetterState.OPEN, None])
@pytest.mark.parametrize("text", [None, "unmoved"])
def test_pages_stay_where_they_are_while_letters_come(
    search: LetterSearch, insert: Insert, state: LetterState | None, text: str | None
) -> None:
    tenant = f"pages-{uuid.uuid4().hex[:8]}"
    # Two letters of each instant, so that the id decides too.
    there = [death(tenant=tenant, died_at=BEGINNING + timedelta(hours=n // 2), message="unmoved") for n in range(20)]
    insert(*there)
    chosen = LetterFilter(tenant=tenant, state=state, text=text)
    seen: list[uuid.UUID] = []
    cursor = None
    while True:
        page = search.list(chosen, limit=3, cursor=cursor)
        seen += [letter.dead_id for letter in page.items]
        insert(death(tenant=tenant, died_at=BEGINNING + timedelta(days=1 + len(seen)), message="unmoved"))
        cursor = page.next
        if cursor is None:
            break
    ordered = sorted(there, key=lambda letter: (letter.died_at, letter.dead_id), reverse=True)
    assert seen == [letter.dead_id for letter in ordered]


def test_counting_ends_at_the_ceiling(names: dict[uuid.UUID, str], search: LetterSearch) -> None:
    assert search.count(LetterFilter(kind="letters.ship"), ceiling=3) == search.count(LetterFilter(), ceiling=3)
    counted = search.count(LetterFilter(), ceiling=3)
    assert (counted.n, counted.exact) == (3, False)


def test_one_letter_tells_all(search: LetterSearch, insert: Insert) -> None:
    first = death(
        code="BATCH_CONFLICT",
        error="builtins.ValueError",
        history=[{"at": "2026-11-01T00:00:00Z", "outcome": "dead", "traceback": ["/a/b.py:1 in f"], "note": "\x00"}],
        trace_id="0" * 32,
        idempotency_key="o-1",
        sentry="s" * 32,
        postpones=2,
    )
    second = again(first)
    insert(first, second)
    detail = search.show(first.dead_id)
    told = detail.as_dict()
    json.dumps(told)
    assert told["id"] == str(first.dead_id)
    assert (told["code"], told["error"], told["state"]) == ("BATCH_CONFLICT", "builtins.ValueError", "open")
    assert "batch id" in told["remedy"] or told["remedy"]
    assert told["history"][0]["note"] == "\ufffd"
    assert (told["trace_id"], told["sentry_id"], told["postpones"]) == ("0" * 32, "s" * 32, 2)
    assert [other["id"] for other in told["other_deaths"]] == [str(second.dead_id)]
    assert detail.letter.died_at == first.died_at
    assert [letter.dead_id for letter in search.deaths_of(first.job_id)] == [second.dead_id, first.dead_id]


def test_an_unknown_letter_is_not_found(search: LetterSearch) -> None:
    for read in (search.show, search.payload):
        with pytest.raises(NotFoundError) as raised:
            read(uuid.uuid4())
        assert raised.value.code is Code.JOB_DEAD_LETTER_NOT_FOUND


def test_a_payload_is_told_as_it_was_sent(search: LetterSearch, insert: Insert) -> None:
    plain = b'{ "order": "a",  "count": 1.10, "more": "' + b"x" * 10_000 + b'"}'
    body, encoding = compress(plain)
    assert encoding == "zstd"
    packed = death(body=body, encoding=encoding)
    raw = death(header_ok=False, body=b"", raw=b"\x80\x00 no envelope")
    insert(packed, raw)
    assert search.payload(packed.dead_id) == plain
    assert search.payload(raw.dead_id) == b"\x80\x00 no envelope"


def test_a_large_payload_is_found_by_its_head_and_first_rows(search: LetterSearch, insert: Insert) -> None:
    mark = uuid.uuid4().hex
    rows = [{"id": f"{mark}-{place}", "text": "y" * 100} for place in range(2_000)]
    large = death({"rows": rows, "batch": mark})
    insert(large)
    for written, found in ((f"batch={mark}", 1), (f"rows.0.id={mark}-0", 1), (f"rows.*.id={mark}-1999", 0)):
        items = search.list(LetterFilter.parse({"payload": written})).items
        assert [letter.dead_id for letter in items] == [large.dead_id] * found


ODD_BODIES = {
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "not a number": b'{"a":NaN,"b":1e999}',
    "deep": b"[" * 100_000,
    "deep but closed": b"[" * 500 + b"]" * 500,
    "many digits": b'{"a":' + b"9" * 5_000 + b"}",
    "list": b"[1,2]",
    "text": b'"x"',
    "many names": json.dumps({f"name {n}": "z" * 50 for n in range(5_000)}).encode(),
    "a long name": json.dumps({"n" * 100_000: 1}).encode(),
    "empty": b"",
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES.keys())
def test_any_payload_can_be_archived(search: LetterSearch, insert: Insert, body: bytes) -> None:
    odd = death(body=body, message_bytes=len(body))
    insert(odd)
    assert search.payload(odd.dead_id) == body
    assert search.show(odd.dead_id).letter.message_bytes == len(body)


def test_the_oldest_and_a_sample(search: LetterSearch, insert: Insert) -> None:
    tenant = "samples"
    insert(*(death(tenant=tenant, died_at=BEGINNING + timedelta(hours=n)) for n in range(9)))
    chosen = LetterFilter(tenant=tenant)
    oldest = search.oldest(chosen)
    assert oldest is not None
    assert oldest.died_at == BEGINNING
    assert [letter.died_at for letter in search.sample(chosen, 2)] == [
        BEGINNING + timedelta(hours=8),
        BEGINNING + timedelta(hours=7),
    ]
    assert search.oldest(LetterFilter(tenant="nobody")) is None
    assert isinstance(oldest.died_at, datetime)
