"""A request as a job does it: whom it names is read, and what was asked is done."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from penstock.producers.queue.connection import connect
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.compliance.erasing import Erasure
from penstock.workers.compliance.exporting import export
from penstock.workers.compliance.person import Person, find_person
from penstock.workers.compliance.queues import WaitingJobs
from penstock.workers.compliance.requests import PersonRequest, end_request, find_request, value_of
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.settings import WorkerSettings


def carry_out_erasure(transactions: Transactions, settings: WorkerSettings, request_id: UUID) -> timedelta | None:
    """Go on with an erasure; returns after which time to go on, or None where it has ended.

    Raises:
        NotFoundError: `REQUEST_PERSON_NOT_FOUND`.
        PenstockError: `CONFIG_INVALID`, `ACCOUNT_TOKEN_UNREADABLE`, or of the families `STORAGE_` and `QUEUE_`.
    """
    found = _find(transactions, settings, request_id)
    if found is None:
        return None
    request, person = found
    with connect(settings.redis_url) as client:
        return Erasure(transactions, request, person, WaitingJobs(client, settings.namespace)).run()


def carry_out_export(transactions: Transactions, settings: WorkerSettings, request_id: UUID) -> None:
    """Write an export into the folder of exports, as `<request id>.zip`; a file of an earlier run is replaced.

    Raises:
        NotFoundError: `REQUEST_PERSON_NOT_FOUND`.
        PenstockError: `CONFIG_INVALID` without folder or key, `REQUEST_USAGE` where the file can't be written, or of
            the family `STORAGE_`.
    """
    if settings.person_export_dir is None:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            "PENSTOCK_PERSON_EXPORT_DIR: is not set here, so there is no place for an export",
            remedy="Set it to a private folder that workers may write into, or export without --as-job.",
        )
    found = _find(transactions, settings, request_id)
    if found is None:
        return
    path = settings.person_export_dir / f"{request_id}.zip"
    # It was made by a run that ended before its receipt was stored.
    path.unlink(missing_ok=True)
    write_export(transactions, *found, path)


def write_export(transactions: Transactions, request: PersonRequest, person: Person, path: Path) -> dict[str, object]:
    """Write an export and end its request with the manifest for a receipt; returns that.

    Raises:
        PenstockError: as `export`.
    """
    manifest = export(transactions, request, person, path)
    receipt = {"file": path.name, **manifest}
    transactions.run(lambda transaction: end_request(transaction.connection, request.request_id, receipt))
    return manifest


def _find(
    transactions: Transactions, settings: WorkerSettings, request_id: UUID
) -> tuple[PersonRequest, Person] | None:
    keys = SubjectKeys.from_setting(settings.token_keys)

    def read(transaction: Transaction) -> tuple[PersonRequest, Person] | None:
        connection: psycopg.Connection = transaction.connection
        request = find_request(connection, request_id)
        value = value_of(connection, keys, request)
        if value is None:
            return None
        return request, find_person(connection, request.tenant, request.subject(value))

    return transactions.run(read)
