"""The jobs of other systems, as somebody who knows their tools writes them: msgspec, and COPY in text.

A batch comes as JSON text. Its answers are checked against the form's rules by a decoder that was compiled once, are
kept as they came, and go into Penstock's own tables: a ledger row, then COPY, in one transaction.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool

from benchmarks.compared.board import note_runs, note_start
from penstock.workers.demo import FORM_FILE, FORM_ID

#: The environment names the form's key in the tables.
FORM_KEY = "PENSTOCK_BENCH_FORM_KEY"
COLUMNS = "submitted_at, received_at, submission_id, form_key, batch_id, form_id, external_id, answers"
COPY_TEXT = f"COPY penstock.submissions ({COLUMNS}) FROM STDIN"
LEDGER = """
INSERT INTO penstock.submission_batches
       (tenant, batch_id, form_key, form_id, form_version, base_batch_id, first_position, digest, stored, rejected,
        duplicates, job_id, received_at)
VALUES ('default', %s, %s, %s, 1, %s, 0, ''::bytea, %s, 0, 0, %s, %s)
ON CONFLICT (tenant, batch_id) DO NOTHING
"""
TINY = "INSERT INTO bench_effects (effect_id) VALUES (%s) ON CONFLICT DO NOTHING"


class Row(msgspec.Struct):
    """A row as it was sent."""

    answers: msgspec.Raw


def answers_type(form: Mapping[str, Any]) -> type[msgspec.Struct]:
    """The form's rules as a type."""
    fields: list[Any] = []
    for question in sorted(form["questions"], key=lambda one: not one["required"]):
        kind = _question_type(question)
        required = question["required"]
        fields.append((question["id"], kind) if required else (question["id"], kind | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct("Answers", fields, forbid_unknown_fields=True)


def _question_type(question: Mapping[str, Any]) -> Any:
    match question["type"]:
        case "text":
            return Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
        case "select" | "radio":
            return Literal[tuple(question["options"])]
        case "date":
            return date
        case "number":
            return Annotated[float, msgspec.Meta(ge=question["min"])]
        case other:
            raise ValueError(f"the form of the benchmark has no questions of type {other!r}")


_decode_rows = msgspec.json.Decoder(list[Row]).decode
_check = msgspec.json.Decoder(answers_type(msgspec.json.decode(FORM_FILE.read_bytes()))).decode


def checked_answers(raw: str | bytes) -> list[bytes]:
    """The answers of a batch's rows.

    Raises:
        msgspec.ValidationError: a row breaks a rule.
    """
    answers = [bytes(row.answers) for row in _decode_rows(raw)]
    for one in answers:
        _check(one)
    return answers


def text_block(answers: list[bytes], batch_id: str, form_key: int) -> bytes:
    """The rows as COPY takes them in text. Lines of NDJSON have neither tabs nor line breaks."""
    now = str(datetime.now(UTC))
    head, tail = f"{now}\t{now}\t".encode(), f"\t{form_key}\t{batch_id}\t{FORM_ID}\t\\N\t".encode()
    return b"".join(head + str(uuid4()).encode() + tail + one.replace(b"\\", b"\\\\") + b"\n" for one in answers)


def ledger_row(batch_id: str, rows: int, form_key: int) -> tuple[object, ...]:
    """What `LEDGER` takes. The base of `BASE-0001` is `BASE`."""
    base = batch_id.rpartition("-")[0]
    return (batch_id, form_key, FORM_ID, base, rows, uuid4(), datetime.now(UTC))


_local = threading.local()


def connection() -> psycopg.Connection[Any]:
    """This thread's connection."""
    if not hasattr(_local, "connection") or _local.process_id != os.getpid():
        _local.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        _local.process_id = os.getpid()
    found: psycopg.Connection[Any] = _local.connection
    return found


def batch(batch_id: str, raw: str) -> None:
    """Check a batch and store it, once."""
    form_key = int(os.environ[FORM_KEY])
    answers = checked_answers(raw)
    block = text_block(answers, batch_id, form_key)
    own = connection()
    with own.transaction():
        if own.execute(LEDGER, ledger_row(batch_id, len(answers), form_key)).rowcount:
            with own.cursor() as cursor, cursor.copy(COPY_TEXT) as copy:
                copy.write(block)


def tiny(effect_id: str) -> None:
    """One insert, which changes nothing when it is run again."""
    connection().execute(TINY, (UUID(effect_id),))


def noop() -> None:
    """Count, and do nothing else."""
    note_runs()


def note(number: int) -> None:
    """Note the moment."""
    note_start(number, time.monotonic())


_opening = asyncio.Lock()
_pools: dict[int, AsyncConnectionPool[Any]] = {}


async def pool() -> AsyncConnectionPool[Any]:
    """This process's connections, for systems that run jobs as coroutines."""
    async with _opening:
        found = _pools.get(os.getpid())
        if found is None:
            found = _pools[os.getpid()] = AsyncConnectionPool(
                os.environ["DATABASE_URL"], min_size=4, max_size=10, open=False, kwargs={"autocommit": True}
            )
            await found.open()
        return found


async def batch_async(batch_id: str, raw: str) -> None:
    """As `batch`."""
    form_key = int(os.environ[FORM_KEY])
    answers = checked_answers(raw)
    block = text_block(answers, batch_id, form_key)
    async with (await pool()).connection() as own, own.transaction():
        claimed = await own.execute(LEDGER, ledger_row(batch_id, len(answers), form_key))
        if claimed.rowcount:
            async with own.cursor() as cursor, cursor.copy(COPY_TEXT) as copy:
                await copy.write(block)


async def tiny_async(effect_id: str) -> None:
    """As `tiny`."""
    async with (await pool()).connection() as own:
        await own.execute(TINY, (UUID(effect_id),))


async def noop_async() -> None:
    """As `noop`."""
    note_runs()


async def note_async(number: int) -> None:
    """As `note`."""
    note_start(number, time.monotonic())
