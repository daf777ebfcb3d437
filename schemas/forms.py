"""Forms: what is asked, and the rules that a definition must keep. A stored version never changes."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Name
from penstock.schemas.text import is_storable, trim


class QuestionType(StrEnum):
    """The fifteen types of question; what each accepts is told in docs/answers.md."""

    TEXT = "text"
    TEXTAREA = "textarea"
    EMAIL = "email"
    PHONE = "phone"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    SELECT = "select"
    MULTISELECT = "multiselect"
    RADIO = "radio"
    CHECKBOX = "checkbox"
    BOOLEAN = "boolean"
    RATING = "rating"
    FILE = "file"


_NEEDS_OPTIONS = {QuestionType.SELECT, QuestionType.MULTISELECT, QuestionType.RADIO}
_MAY_HAVE_OPTIONS = _NEEDS_OPTIONS | {QuestionType.CHECKBOX, QuestionType.RATING}

#: Longest answer in characters, unless the question says otherwise.
DEFAULT_MAX_LENGTH: Mapping[QuestionType, int] = {QuestionType.TEXT: 1_000, QuestionType.TEXTAREA: 10_000}
#: Highest rating, unless the question says otherwise.
DEFAULT_MAX_RATING = 5

#: Which types take which optional setting; on any other type the setting is a mistake that we name.
_SETTING_TYPES: Mapping[str, set[QuestionType]] = {
    "options": _MAY_HAVE_OPTIONS,
    "min": {QuestionType.NUMBER},
    "max": {QuestionType.NUMBER, QuestionType.RATING},
    "max_length": {QuestionType.TEXT, QuestionType.TEXTAREA},
    "region": {QuestionType.PHONE},
    "subject": {QuestionType.TEXT, QuestionType.EMAIL, QuestionType.PHONE},
}

Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2, such as DE")]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(_Definition):
    """One question of a form."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(min_length=1, max_length=500)]
    type: QuestionType
    required: bool = False
    options: Annotated[tuple[str, ...] | None, Field(min_length=1, max_length=10_000)] = None
    min: Decimal | None = Field(default=None, description="number: the smallest value accepted")
    max: Decimal | None = Field(default=None, description="number: the largest value; rating: the highest, default 5")
    max_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    region: Region | None = Field(default=None, description="phone: where a number without country code is read")
    empty_values: tuple[str, ...] = Field(default=(), description="texts that count as no answer, such as N/A")
    sensitive: bool = Field(default=False, description="shown redacted to operators")
    subject: bool | None = Field(
        default=None,
        description="text, email, phone: the answer names the person that the row is about, by which that person's data"
        " is found; e-mail addresses do unless it is false",
    )

    @field_validator("id", "text", "options", "empty_values")
    @classmethod
    def _storable(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for text in (value,) if isinstance(value, str) else value or ():
            if not is_storable(text):
                raise ValueError("holds U+0000 or an unpaired surrogate, which can't be stored")
        return value

    @field_validator("options")
    @classmethod
    def _options_distinct(cls, options: tuple[str, ...] | None) -> tuple[str, ...] | None:
        trimmed = [trim(option) for option in options or ()]
        if not all(trimmed):
            raise ValueError("an option is empty")
        if len(set(trimmed)) != len(trimmed):
            raise ValueError("two options are the same after trimming")
        return options

    @model_validator(mode="after")
    def _settings_fit_type(self) -> Self:
        for name, types in _SETTING_TYPES.items():
            if getattr(self, name) is not None and self.type not in types:
                raise ValueError(f"{name!r} has no meaning for a {self.type} question")
        if self.type in _NEEDS_OPTIONS and self.options is None:
            raise ValueError(f"a {self.type} question needs 'options'")
        return self

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        if any(bound is not None and not bound.is_finite() for bound in (self.min, self.max)):
            raise ValueError("'min' and 'max' must be finite")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("'min' is above 'max'")
        if self.type is QuestionType.RATING and self.max is not None:
            if self.options is not None:
                raise ValueError("a rating has 'options' or 'max', not both")
            if self.max != self.max.to_integral_value() or not 1 <= self.max <= 1_000:
                raise ValueError("a rating's 'max' is a whole number from 1 to 1000")
        return self


class LegalBasis(StrEnum):
    """On what the processing of a form's answers rests: the six of GDPR, article 6 (1)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTERESTS = "legitimate_interests"


class Form(_Definition):
    """A form's definition, as its author writes it. Versions of it are numbered when they are stored."""

    id: Name | None = None
    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str, Field(max_length=1_000)] | None = None
    timezone: str = Field(default="UTC", description="IANA zone in which datetimes without offset are read")
    region: Region | None = Field(default=None, description="where telephone numbers without country code are read")
    purpose: Annotated[str, Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, description="what the answers are for, as the people who give them are told"
    )
    legal_basis: LegalBasis | None = Field(
        default=None, description="on what processing the answers rests (GDPR, article 6)"
    )
    questions: Annotated[tuple[Question, ...], Field(min_length=1, max_length=1_000)]

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (OSError, ValueError, LookupError):
            raise ValueError(f"{zone!r} is not an IANA time zone") from None
        return zone

    @field_validator("title", "description", "purpose")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value is not None and not is_storable(value):
            raise ValueError("holds U+0000 or an unpaired surrogate, which can't be stored")
        return value

    @field_validator("questions")
    @classmethod
    def _ids_distinct(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        seen: set[str] = set()
        for question in questions:
            if question.id in seen:
                raise ValueError(f"two questions have the id {question.id!r}")
            seen.add(question.id)
        return questions

    def canonical_json(self) -> bytes:
        """The definition without its id as UTF-8 JSON: equal definitions give equal bytes."""
        return self.model_dump_json(exclude={"id"}, exclude_defaults=True).encode()


def parse_form(definition: Mapping[str, Any] | bytes | str) -> Form:
    """Read a form's definition.

    Raises:
        InvalidInputError: `FORM_INVALID`, with every fault in the message and in `details["faults"]`.
    """
    try:
        if isinstance(definition, (bytes, str)):
            return Form.model_validate_json(definition)
        return Form.model_validate(definition)
    except ValidationError as error:
        faults = _faults(error)
        listed = "; ".join(f"{fault['at'] or 'form'}: {fault['message']}" for fault in faults)
        raise InvalidInputError(
            Code.FORM_INVALID, f"the form has {len(faults)} fault(s): {listed}", details={"faults": faults}
        ) from None


def _faults(error: ValidationError) -> list[dict[str, str]]:
    found = error.errors(include_input=False, include_url=False)
    places = [fault["loc"] for fault in found]
    return [
        {"at": ".".join(str(part) for part in fault["loc"]), "message": _tell(fault["msg"])}
        for fault in found
        # A list whose items are at fault is also told to be short of them, which helps nobody.
        if not (fault["type"] == "too_short" and any(_is_within(place, fault["loc"]) for place in places))
    ]


def _is_within(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _tell(message: str) -> str:
    return message.removeprefix("Value error, ")
