"""The actor of `person_data.export`."""

from collections.abc import Sequence
from datetime import timedelta

from penstock.schemas.errors import InvalidInputError, NotFoundError
from penstock.schemas.person_data import ExportPersonData
from penstock.workers.compliance.carrying_out import carry_out_export
from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.job import Dead, Done, Job, Outcome
from penstock.workers.registry import Policy, Registration, Resources
from penstock.workers.settings import WorkerSettings

#: One that is cut off begins anew: it only reads, and its file has its name once it is whole.
POLICY = Policy(time_limit=timedelta(minutes=30), backoff_cap=timedelta(minutes=5))


class ExportPeople:
    """Writes exports into the worker's folder of them."""

    def __init__(self, transactions: Transactions, settings: WorkerSettings) -> None:
        self._transactions = transactions
        self._settings = settings

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        """Write each export."""
        return [self._export(job, transaction) for job in jobs]

    def _export(self, job: Job, transaction: Transaction) -> Outcome:
        order = ExportPersonData.model_validate_json(job.payload)
        try:
            carry_out_export(self._transactions, self._settings, order.request_id)
        except (InvalidInputError, NotFoundError) as error:
            return Dead(error.code, error.message)
        return Done(repeated=not claim_effect(transaction.connection, job))


def _build(resources: Resources) -> ExportPeople:
    return ExportPeople(resources.transactions, resources.settings)


REGISTRATION = Registration(ExportPersonData, _build, POLICY)
