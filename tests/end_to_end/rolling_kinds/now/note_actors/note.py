"""The actor of `note.write`."""

from collections.abc import Sequence

from notes import Note

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources


def write_notes(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
    """Leave a row for each note that has none."""
    return [_write(job, transaction) for job in jobs]


def _write(job: Job, transaction: Transaction) -> Outcome:
    note = Note.model_validate_json(job.payload)
    if not claim_effect(transaction.connection, job):
        return Done(repeated=True)
    transaction.connection.execute(
        "INSERT INTO public.notes_written (job_id, name, words) VALUES (%s, %s, %s)",
        (job.job_id, note.name, note.text.split()),
    )
    return Done()


def _build(resources: Resources) -> Actor:
    return write_notes


REGISTRATION = Registration(Note, _build)
