"""Whom a row is about: the texts by which a person is named, in one spelling."""

import unicodedata
from dataclasses import dataclass, field
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from penstock.schemas.identity import SubmissionIds, parse_uuid
from penstock.schemas.person_data import SubjectKind
from penstock.schemas.text import trim


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as named within a tenant.

    Attributes:
        form_id: of a submission or a question; None for an address or an owner, which are looked for in all forms.
        question_id: of a question.
        value: in the spelling of `spelled`; of a submission the 32 hexadecimal digits of its id.
    """

    kind: SubjectKind
    value: str = field(repr=False)
    form_id: str | None = None
    question_id: str | None = None


def spelled(text: str) -> str:
    """One spelling of what people write in several: no white space at the ends, composed, in small letters."""
    return unicodedata.normalize("NFC", trim(text)).lower()


def spelled_email(text: str) -> str:
    """An e-mail address as answers hold it, in small letters; what is no address stays as it is."""
    try:
        found = validate_email(trim(text), check_deliverability=False).normalized
    except EmailNotValidError:
        found = text
    return spelled(found)


def submission_id_of(tenant: str, form_id: str, given: str) -> UUID:
    """The id of a submission by its UUID, or by the text that its producer calls it."""
    return parse_uuid(given) or UUID(bytes=SubmissionIds(tenant, form_id).of_external(given))
