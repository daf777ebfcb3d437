"""Rows that are there already: skipped, counted, and never written over; identity of rows with an id."""

import uuid
from typing import Any

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.job import Done
from penstock.workers.submissions import store
from tests.workers.batches import GOOD, Batches

NOW = "2026-01-02T03:04:05Z"
UUID4 = "0f9d4a52-6b1d-4c6c-9a5d-2b6f3f1f7a1f"


def row(row_id: str, name: str = "a", submitted_at: str = NOW) -> bytes:
    return f'{{"id":"{row_id}","submitted_at":"{submitted_at}","answers":{{"name":"{name}"}}}}'.encode()


def names(batches: Batches) -> list[tuple[Any, ...]]:
    return batches.database.query("SELECT external_id, answers ->> 'name' FROM penstock.submissions ORDER BY 1, 2")


def ledger(batches: Batches, batch_id: str) -> tuple[int, int, int]:
    ((stored, rejected, duplicates),) = batches.database.query(
        "SELECT stored, rejected, duplicates FROM penstock.submission_batches WHERE batch_id = %s", batch_id
    )
    return stored, rejected, duplicates


def test_the_same_row_twice_in_a_batch_is_stored_once(batches: Batches) -> None:
    rows = [row("x"), GOOD, row("x"), b"5", row("x")]
    assert batches.counts(rows) == ledger(batches, "b") == (2, 1, 2)
    assert names(batches) == [("x", "a"), (None, "Zoë")]


def test_the_first_of_two_equal_ids_in_a_batch_stays(batches: Batches) -> None:
    assert batches.counts([row("x", "first"), row("x", "second")]) == (1, 0, 1)
    assert names(batches) == [("x", "first")]


def test_rows_of_another_batch_are_skipped_and_counted(batches: Batches) -> None:
    batches.counts([row("x", "first"), row("y", "first")])
    rows = [row("y", "second"), row("z", "second"), row(UUID4, "second")]
    assert batches.counts(rows, "c") == ledger(batches, "c") == (2, 0, 1)
    assert names(batches) == [("x", "first"), ("y", "first"), ("z", "second"), (None, "second")]


@pytest.mark.parametrize("row_id", ["x", UUID4, "Größe \U0001f389", "a" * 200, "{}", '\\"', "null"])
def test_a_batch_of_known_rows_stores_none(batches: Batches, row_id: str) -> None:
    batches.counts([row(row_id, "first")])
    assert batches.counts([row(row_id, "second")], "c") == ledger(batches, "c") == (0, 0, 1)
    assert [name for _, name in names(batches)] == ["first"]


def test_the_same_id_at_another_instant_is_another_submission(batches: Batches) -> None:
    assert batches.counts([row("x"), row("x", submitted_at="2026-01-02T03:04:06Z")]) == (2, 0, 0)
    assert batches.counts([row("x", submitted_at="2026-01-02T04:04:05+01:00")], "c") == (0, 0, 1)


def test_a_uuid_is_the_same_id_in_any_case(batches: Batches) -> None:
    assert batches.counts([row(UUID4), row(UUID4.upper())]) == (1, 0, 1)
    assert batches.database.query("SELECT submission_id, external_id FROM penstock.submissions") == [
        (uuid.UUID(UUID4), None)
    ]


@pytest.mark.parametrize(
    "text",
    [UUID4.replace("-", ""), f"{{{UUID4}}}", f"urn:uuid:{UUID4}", UUID4 + " "],
    ids=["hex", "braces", "urn", "space"],
)
def test_a_uuid_written_otherwise_is_an_external_id(batches: Batches, text: str) -> None:
    assert batches.counts([row(UUID4), row(text)]) == (2, 0, 0)
    assert (text, "a") in names(batches)


def test_the_slow_way_keeps_every_answer_as_it_was_sent(batches: Batches) -> None:
    answers = b'{"name":"Zo\xc3\xab \\"x\\" \\\\ \\u00e9 {,}","age":1.50}'
    batches.counts([row("x")])
    sent = b'{"id":"y","submitted_at":"1999-12-31T23:59:59.999999Z","answers":' + answers + b"}"
    assert batches.counts([row("x"), sent], "c") == (1, 0, 1)
    assert batches.database.query(
        "SELECT answers::text, submitted_at::text FROM penstock.submissions WHERE external_id = 'y'"
    ) == [('{"age": 1.50, "name": "Zoë \\"x\\" \\\\ é {,}"}', "1999-12-31 23:59:59.999999+00")]


@pytest.fixture
def slow_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The batches that took the slow way, in order; they are written all the same."""
    taken: list[str] = []
    insert = store.insert_new_rows

    def noting(connection: psycopg.Connection, batch: store.PreparedBatch, rows: Any) -> int:
        taken.append(batch.batch_id)
        return insert(connection, batch, rows)

    monkeypatch.setattr(store, "insert_new_rows", noting)
    return taken


def test_only_the_batch_that_meets_known_rows_takes_the_slow_way(batches: Batches, slow_ways: list[str]) -> None:
    batches.counts([row("x")])
    assert slow_ways == []
    outcomes = batches.run(
        batches.job([row("n1")], "n1"), batches.job([row("x"), row("y")], "known"), batches.job([row("n2")], "n2")
    )
    assert outcomes == [
        Done(counts={"stored": 1, "rejected": 0, "duplicates": 0}),
        Done(counts={"stored": 1, "rejected": 0, "duplicates": 1}),
        Done(counts={"stored": 1, "rejected": 0, "duplicates": 0}),
    ]
    assert slow_ways == ["known"]


@pytest.mark.parametrize("table", ["submission_rejections", "submissions", "base_batches"])
def test_all_of_a_batch_commits_together(batches: Batches, table: str) -> None:
    database = batches.database
    rows = [GOOD, b"NaN", row("x")]
    database.query(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'raise_exception'; END $$"
    )
    database.query(
        f"CREATE TRIGGER refuse AFTER INSERT ON penstock.{table} FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    try:
        with pytest.raises(PenstockError) as refused:
            batches.write(rows)
        assert refused.value.code is Code.STORAGE_REFUSED
        assert batches.rows_written() == (0, 0, 0, 0)
    finally:
        database.query("DROP FUNCTION public.refuse CASCADE")
    assert batches.counts(rows) == (2, 1, 0)
    assert batches.rows_written() == (2, 1, 1, 1)
