"""The rules of choices: one option, several options, yes or no."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from penstock.schemas.errors import Code
from penstock.schemas.text import trim
from penstock.workers.answers.json_text import Answer
from penstock.workers.answers.rule import RefusedAnswerError, Shape, require_text

_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}

#: Options that a message names.
_OPTIONS_TOLD = 12
#: To make types of options, which are known at run time only.
_literal: Any = Literal
_list: Any = list


@dataclass(frozen=True, slots=True)
class Options:
    """A question's options; an answer names one whatever the white space at its ends."""

    written: tuple[str, ...]
    _by_trimmed: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_trimmed", {trim(option): option for option in self.written})

    def named_by(self, text: str) -> str | None:
        """The option as the form writes it, or None."""
        return self._by_trimmed.get(trim(text))

    def told(self) -> str:
        """The options for a message: all of a few, and how many more there are."""
        shown = ", ".join(option.strip() for option in self.written[:_OPTIONS_TOLD])
        more = len(self.written) - _OPTIONS_TOLD
        return f"the options {shown}" if more <= 0 else f"the {len(self.written)} options {shown}, …"

    def literal(self) -> Any:
        """A type of the options and nothing else."""
        return _literal[self.written]


@dataclass(frozen=True, slots=True)
class OneOptionRule:
    """One of the options, as a string."""

    options: Options

    def read(self, answer: Answer) -> Answer:
        """The option as the form writes it."""
        option = self.options.named_by(require_text(answer, "one of the options, as a string"))
        if option is None:
            raise RefusedAnswerError((Code.ANSWER_OPTION_UNKNOWN, f"send one of {self.options.told()}"))
        return option

    def shape(self) -> Shape:
        """An option as the form writes it."""
        return Shape(self.options.literal())


@dataclass(frozen=True, slots=True)
class SeveralOptionsRule:
    """A list of distinct options."""

    options: Options

    def read(self, answer: Answer) -> Answer:
        """The options as the form writes them, in the order of the answer."""
        if not isinstance(answer, list) or not all(isinstance(choice, str) for choice in answer):
            raise RefusedAnswerError((Code.ANSWER_TYPE_INVALID, "send a list of options, each a string"))
        named = [self.options.named_by(choice) for choice in answer if isinstance(choice, str)]
        chosen = [option for option in named if option is not None]
        faults = []
        if len(chosen) < len(named):
            unknown = [place for place, option in enumerate(named, 1) if option is None]
            faults.append((Code.ANSWER_OPTION_UNKNOWN, f"send only {self.options.told()}; {_places(unknown)} is none"))
        if not _are_distinct(chosen):
            faults.append((Code.ANSWER_OPTION_DUPLICATE, "send each option once"))
        if faults:
            raise RefusedAnswerError(*faults)
        return list[Answer](chosen)

    def shape(self) -> Shape:
        """A list of options as the form writes them."""
        return Shape(Annotated[_list[self.options.literal()], Meta(min_length=1)], _are_distinct)


@dataclass(frozen=True, slots=True)
class BooleanRule:
    """True or false, or a word that says so."""

    def read(self, answer: Answer) -> Answer:
        """`true` or `false`."""
        if isinstance(answer, bool):
            return answer
        value = _BOOLEANS.get(require_text(answer, "true or false").lower())
        if value is None:
            raise RefusedAnswerError(
                (Code.ANSWER_BOOLEAN_INVALID, "send true or false, or one of the strings true, false, yes, no")
            )
        return value

    def shape(self) -> Shape:
        """A JSON boolean."""
        return Shape(bool)


def _are_distinct(options: list[str]) -> bool:
    return len(set(options)) == len(options)


def _places(places: Iterable[int]) -> str:
    return "choice " + ", ".join(str(place) for place in places)
