"""Keeps the job record up to date, so that a producer can ask where its job stands."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import dramatiq

from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.schemas.errors import Code
from penstock.workers.protection.retry import judge_failure


class RecordJobs(dramatiq.Middleware):
    """Notes running, done, scheduled (a retry) and dead. A note that fails is logged, and the job goes on."""

    def __init__(self, records: JobRecords) -> None:
        self._records = records

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Note that an attempt begins."""
        self._note(message, JobState.RUNNING)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Note how the attempt ended."""
        if exception is None:
            self._note(message, JobState.DONE)
            return
        if isinstance(exception, dramatiq.errors.Retry):
            # Postponed: that is no failure, so there is nothing to tell of one.
            self._note(message, JobState.SCHEDULED)
            return
        failure = judge_failure(exception)
        state = JobState.DEAD if message.failed else JobState.SCHEDULED
        self._note(message, state, str(failure.code), failure.message)

    def after_nack(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Note a job that dramatiq put aside without an attempt, because no actor here is of its kind."""
        if message.actor_name not in broker.actors:
            told = f"this worker has no actor for {message.actor_name!r}"
            self._note(message, JobState.DEAD, str(Code.JOB_UNKNOWN_KIND), told)

    def _note(
        self, message: dramatiq.MessageProxy, state: JobState, code: str | None = None, told: str | None = None
    ) -> None:
        self._records.write(
            JobRecord(
                job_id=UUID(message.message_id),
                state=state,
                kind=message.actor_name,
                tenant=message.options["tenant"],
                queue=message.queue_name.removesuffix(".DQ"),
                changed_at=datetime.now(UTC),
                code=code,
                message=told,
            )
        )
