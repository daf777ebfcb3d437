"""What is to be sent: the whole file checked before the first batch goes, and compared with what is known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from penstock.producers.batches import Batch, SubmitOptions, cut
from penstock.producers.storage.batches import StoredBatch
from penstock.schemas.errors import Code, ConflictError, InvalidInputError
from penstock.schemas.limits import Limits
from penstock.schemas.submission_batch import batch_digest


@dataclass(frozen=True, slots=True)
class Part:
    """One batch of a file, without its rows: enough to compare it and to wait for it."""

    batch_id: str
    rows: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """The batches of a file, in order."""

    form_id: str
    base_batch_id: str
    batch_size: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)


def plan(form_id: str, base_batch_id: str, rows: Iterable[bytes], options: SubmitOptions, limits: Limits) -> Plan:
    """Read a file through, in bounded memory.

    Raises:
        InvalidInputError: for whatever can't be sent, naming the line; `BATCH_EMPTY` for a file without rows.
    """
    parts = tuple(
        Part(batch.batch_id, len(batch.rows), digest_of(form_id, batch))
        for batch in cut(form_id, rows, base_batch_id, options, limits)
    )
    if not parts:
        raise InvalidInputError(Code.BATCH_EMPTY, "the file holds no row")
    return Plan(form_id, base_batch_id, options.batch_size or limits.batch_size, parts)


def digest_of(form_id: str, batch: Batch) -> bytes:
    """The digest that the ledger will hold for the batch."""
    return batch_digest(form_id, b"[" + b",".join(batch.rows) + b"]")


def check_known(plan: Plan, known: Mapping[str, StoredBatch], cut_before: tuple[str, int | None] | None) -> None:
    """Compare a plan with what the ledger knows.

    Args:
        plan: what is to be sent.
        known: the batches of the plan that are committed.
        cut_before: the form and batch size that the base batch is known with.

    Raises:
        ConflictError: `BATCH_CONFLICT`.
    """
    if cut_before is not None:
        require_same_cut(plan, *cut_before)
    for part in plan.parts:
        stored = known.get(part.batch_id)
        if stored is None:
            continue
        if stored.form_id != plan.form_id:
            raise ConflictError(
                Code.BATCH_CONFLICT, f"the batch {part.batch_id!r} is known with the form {stored.form_id!r}"
            )
        if stored.digest != part.digest or stored.base_batch_id != plan.base_batch_id:
            raise ConflictError(Code.BATCH_CONFLICT, f"the batch {part.batch_id!r} is known with other content")


def require_same_cut(plan: Plan, form_id: str, batch_size: int | None) -> None:
    """See that a file is cut as it was before.

    Raises:
        ConflictError: `BATCH_CONFLICT`, saying how it was.
    """
    if form_id != plan.form_id:
        raise ConflictError(Code.BATCH_CONFLICT, f"{plan.base_batch_id!r} is known with the form {form_id!r}")
    if batch_size != plan.batch_size:
        told = "as a single batch" if batch_size is None else f"in batches of {batch_size:,}"
        raise ConflictError(
            Code.BATCH_CONFLICT, f"{plan.base_batch_id!r} was sent {told}, and not in batches of {plan.batch_size:,}"
        )
