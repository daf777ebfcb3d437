"""The actor of `person_data.erase`."""

from collections.abc import Sequence
from datetime import timedelta

from penstock.schemas.errors import InvalidInputError, NotFoundError
from penstock.schemas.person_data import ErasePersonData
from penstock.workers.compliance.carrying_out import carry_out_erasure
from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone
from penstock.workers.registry import Policy, Registration, Resources
from penstock.workers.settings import WorkerSettings

#: It is done in slices of some seconds, and waits as long as a queue is paused that holds something of the person.
POLICY = Policy(
    max_retries=20,
    backoff_cap=timedelta(minutes=5),
    time_limit=timedelta(minutes=2),
    patience=timedelta(days=90),
)


class ErasePeople:
    """Erases people. Each step commits by itself; only the proof that all is done is in the given transaction."""

    def __init__(self, transactions: Transactions, settings: WorkerSettings) -> None:
        self._transactions = transactions
        self._settings = settings

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        """Go on with each erasure as far as it comes now."""
        return [self._erase(job, transaction) for job in jobs]

    def _erase(self, job: Job, transaction: Transaction) -> Outcome:
        order = ErasePersonData.model_validate_json(job.payload)
        try:
            wait = carry_out_erasure(self._transactions, self._settings, order.request_id)
        except (InvalidInputError, NotFoundError) as error:
            return Dead(error.code, error.message)
        if wait is not None:
            return Postpone(wait, "person_data")
        return Done(repeated=not claim_effect(transaction.connection, job))


def _build(resources: Resources) -> ErasePeople:
    return ErasePeople(resources.transactions, resources.settings)


REGISTRATION = Registration(ErasePersonData, _build, POLICY)
