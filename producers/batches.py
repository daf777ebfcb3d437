"""Rows of any number cut into batches, and the batches sent a few at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, cast

from penstock.producers.patience import OnFull, Patience, patience_of, patiently
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.names import require_name
from penstock.schemas.submission_batch import Submission, encode_batch, encode_row, part_id

Row = Submission | Mapping[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How rows are cut and sent."""

    #: Rows of each batch but the last; None means the limit.
    batch_size: int | None = None
    #: Batches that are on their way to Redis at once.
    in_flight: int = 3
    #: Rest between two batches, for a producer that must not crowd others out.
    pause: timedelta = timedelta(0)
    #: The form version to judge by; None means the latest when a batch is first processed.
    form_version: int | None = None
    #: What to do where the queue is full: wait up to five minutes for room for each batch, wait with a patience of
    #: one's own, or raise.
    on_full: OnFull | Patience = "wait"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of a file, encoded. `first_position` counts rows of the whole file from 0."""

    batch_id: str
    first_position: int
    rows: tuple[bytes, ...]
    payload: EncodedPayload


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a submit has come: what Redis has acknowledged."""

    batches: int
    rows: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submit has sent. `batch_ids` in order."""

    batch_ids: tuple[str, ...]
    rows: int


def batch_size_of(options: SubmitOptions, limits: Limits) -> int:
    """The batch size that a submit will use.

    Raises:
        InvalidInputError: `BATCH_TOO_LARGE` where it is over the limit, `REQUEST_USAGE` where it is below 1.
    """
    size = limits.batch_size if options.batch_size is None else options.batch_size
    if size > limits.batch_size:
        raise InvalidInputError(
            Code.BATCH_TOO_LARGE, f"a batch size of {size:,} is over the limit of {limits.batch_size:,} rows"
        )
    if size < 1:
        raise InvalidInputError(Code.REQUEST_USAGE, f"a batch size of {size} can't be: give 1 or more")
    return size


def cut(
    form_id: str, rows: Iterable[Row], base_batch_id: str, options: SubmitOptions, limits: Limits
) -> Iterator[Batch]:
    """Cut rows into batches, holding one batch at a time.

    Raises:
        InvalidInputError: at once for names and sizes; while iterating for a row, naming it.
    """
    require_name(form_id, Code.FORM_ID_INVALID, "a form id")
    require_name(base_batch_id, Code.BATCH_ID_INVALID, "a batch id")
    require_name(part_id(base_batch_id, 1), Code.BATCH_ID_INVALID, "a batch id (with its number)")
    size = batch_size_of(options, limits)
    return _cut(form_id, iter(rows), base_batch_id, size, options.form_version, limits)


def _cut(
    form_id: str, rows: Iterator[Row], base_batch_id: str, size: int, form_version: int | None, limits: Limits
) -> Iterator[Batch]:
    position = 0
    for part in range(1, 10**9):
        encoded = _encoded(position, tuple(islice(rows, size)), limits)
        if not encoded:
            return
        batch_id = require_name(part_id(base_batch_id, part), Code.BATCH_ID_INVALID, "a batch id")
        head = {
            "form_id": form_id,
            "batch_id": batch_id,
            "base_batch_id": base_batch_id,
            "batch_size": size,
            "first_position": position,
        }
        if form_version is not None:
            head["form_version"] = form_version
        yield Batch(batch_id, position, encoded, encode_batch(head, encoded, limits))
        position += len(encoded)


def _encoded(position: int, rows: Sequence[Row], limits: Limits) -> tuple[bytes, ...]:
    """Rows as JSON, the first of which stands at `position` of the whole file."""
    if set(map(type, rows)) == {bytes} and max(map(len, cast("Sequence[bytes]", rows))) <= limits.row_bytes:
        return cast("tuple[bytes, ...]", tuple(rows))  # as `encode_row` would leave each of them
    return tuple(encode_row(position + index, plain_row(row), limits) for index, row in enumerate(rows))


def plain_row(row: Row) -> Mapping[str, Any] | bytes:
    """A row as what `encode_row` takes."""
    return row.model_dump(exclude_none=True) if isinstance(row, Submission) else row


def send(
    batches: Iterable[Batch],
    enqueue: Callable[[EncodedPayload], object],
    options: SubmitOptions,
    on_progress: Callable[[Progress], None] | None,
) -> Submitted:
    """Enqueue batches, at most `options.in_flight` at once; what is on its way is awaited before an error is raised.

    Raises:
        InvalidInputError, PenstockError: with `details["batches_sent"]`, the batches that Redis has acknowledged.
    """
    sent: list[str] = []
    rows = 0

    def acknowledged(done: Batch) -> None:
        nonlocal rows
        sent.append(done.batch_id)
        rows += len(done.rows)
        if on_progress is not None:
            on_progress(Progress(len(sent), rows))

    patience = patience_of(options.on_full)

    def enqueue_patiently(payload: EncodedPayload) -> None:
        patiently(lambda: enqueue(payload), patience)

    try:
        with (
            ThreadPoolExecutor(options.in_flight, thread_name_prefix="penstock-submit") as threads,
            _ending(patience),
        ):
            for done in _windowed(batches, enqueue_patiently, threads, options):
                acknowledged(done)
    except PenstockError as error:
        error.details["batches_sent"] = len(sent)
        raise
    return Submitted(tuple(sorted(sent, key=_by_part)), rows)


@contextmanager
def _ending(patience: Patience | None) -> Iterator[None]:
    """Where the block ends with an error, let nobody go on waiting for room: the threads are joined after it."""
    try:
        yield
    except BaseException:
        if patience is not None:
            patience.stop.set()
        raise


def _by_part(batch_id: str) -> tuple[int, str]:
    return len(batch_id), batch_id


def _windowed(
    batches: Iterable[Batch],
    enqueue: Callable[[EncodedPayload], object],
    threads: ThreadPoolExecutor,
    options: SubmitOptions,
) -> Iterator[Batch]:
    window: deque[Future[Batch]] = deque()

    def send_one(batch: Batch) -> Batch:
        enqueue(batch.payload)
        return batch

    for number, batch in enumerate(batches):
        if number and options.pause:
            time.sleep(options.pause.total_seconds())
        if len(window) >= options.in_flight:
            wait(window, return_when=FIRST_COMPLETED)
        while window and (window[0].done() or len(window) >= options.in_flight):
            yield window.popleft().result()
        # With the caller's context: its trace, and its request.
        window.append(threads.submit(copy_context().run, send_one, batch))
    while window:
        yield window.popleft().result()
