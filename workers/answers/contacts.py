"""The rules of email and phone."""

from dataclasses import dataclass

import phonenumbers
from email_validator import validate_email

from penstock.schemas.errors import Code
from penstock.workers.answers.json_text import Answer
from penstock.workers.answers.rule import RefusedAnswerError, Shape, canonical_text, require_text

#: Far above the 254 of RFC 5321, and low enough that no parser's worst case costs anything.
_EMAIL_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class EmailRule:
    """An e-mail address by its syntax; nothing is looked up."""

    def read(self, answer: Answer) -> Answer:
        """The address in its normal form: Unicode NFC, the domain in lower case and not in Punycode."""
        text = require_text(answer, "an e-mail address as a string")
        if len(text) > _EMAIL_CHARACTERS:
            raise _email_refused()
        try:
            normalized: str = validate_email(text, check_deliverability=False).normalized
        except ValueError:
            raise _email_refused() from None
        return normalized

    def shape(self) -> Shape:
        """What reading leaves as it is."""
        return canonical_text(self)


@dataclass(frozen=True, slots=True)
class PhoneRule:
    """A telephone number; one without country code is read in `region` (ISO 3166-1 alpha-2) where that is given."""

    region: str | None

    def read(self, answer: Answer) -> Answer:
        """The number as E.164, such as +4930123456."""
        text = require_text(answer, "a telephone number as a string")
        try:
            number = phonenumbers.parse(text, self.region)
        except phonenumbers.NumberParseException:
            raise self._refused() from None
        # E.164 has no place for an extension, so it would be lost.
        if number.extension or not phonenumbers.is_valid_number(number):
            raise self._refused()
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def shape(self) -> Shape:
        """What reading leaves as it is."""
        return canonical_text(self)

    def _refused(self) -> RefusedAnswerError:
        where = f", or one of {self.region} without" if self.region else ""
        return RefusedAnswerError(
            (Code.ANSWER_PHONE_INVALID, f"send a valid number with its country code{where}, and without an extension")
        )


def _email_refused() -> RefusedAnswerError:
    return RefusedAnswerError(
        (Code.ANSWER_EMAIL_INVALID, "send one address of the form name@domain, without a display name")
    )
