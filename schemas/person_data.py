"""The job kinds of one person's data: `person_data.export` writes it into a file, `person_data.erase` takes it out.

Whose data it is stands in neither: a payload names the request, and PostgreSQL holds what the request names, encrypted,
until it has ended.
"""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue


class SubjectKind(StrEnum):
    """By what a person is named."""

    #: One submission, by its id in its form.
    SUBMISSION = "submission"
    #: An e-mail address, in all forms of a tenant or in one.
    EMAIL = "email"
    #: The answer to one question of one form.
    QUESTION = "question"
    #: The owner of scheduled posts.
    OWNER = "owner"


class ExportPersonData(Payload, kind="person_data.export", queue=Queue.SUBMISSIONS):
    """Write all that is stored of one person into a file of the worker's export folder."""

    urgent: ClassVar[bool] = True

    request_id: UUID = Field(description="the row of penstock.person_data_requests")

    def idempotency_key(self) -> str:
        """One job for each request."""
        return str(self.request_id)


class ErasePersonData(Payload, kind="person_data.erase", queue=Queue.SUBMISSIONS):
    """Take one person's data out of all places."""

    urgent: ClassVar[bool] = True

    request_id: UUID = Field(description="the row of penstock.person_data_requests")

    def idempotency_key(self) -> str:
        """One job for each request."""
        return str(self.request_id)
