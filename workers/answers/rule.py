"""What a rule for one type of question is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from msgspec import Meta

from penstock.schemas.errors import Code
from penstock.schemas.text import is_storable, trim
from penstock.workers.answers.json_text import Answer


class RefusedAnswerError(Exception):
    """Raised when an answer breaks its question's rule: a code and what would have been right, for each fault."""

    def __init__(self, *faults: tuple[Code, str]) -> None:
        super().__init__(*faults)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Shape:
    """How answers look that are canonical already, for the decoder that takes most rows in one step.

    What the shape lets through must be what `Rule.read` returns unchanged. The opposite need not hold.

    Attributes:
        type: a type with constraints that msgspec decodes strictly. It never takes an empty text, nor an unpaired
            surrogate (msgspec takes none), but it may take U+0000.
        holds: asked for each decoded answer where the type alone does not say it.
        with_fractions: a wider type for rows in which no number has over 15 digits or an exponent.
        is_free_text: whether it must be seen to that the text has no white space at its ends and no U+0000.
    """

    type: Any
    holds: Callable[[Any], bool] | None = None
    with_fractions: Any = None
    is_free_text: bool = False


class Rule(Protocol):
    """The rule of one question. Immutable, so that threads may share it."""

    def read(self, answer: Answer) -> Answer:
        """The canonical form of an answer that is not empty; reading that again returns it.

        Raises:
            RefusedAnswerError: with every fault of the answer.
        """
        ...

    def shape(self) -> Shape:
        """How canonical answers look."""
        ...


def require_text(answer: Answer, wanted: str) -> str:
    """The trimmed text of an answer.

    Raises:
        RefusedAnswerError: `ANSWER_TYPE_INVALID` saying that `wanted` was wanted, or `ANSWER_TEXT_UNSTORABLE`.
    """
    if not isinstance(answer, str):
        raise RefusedAnswerError((Code.ANSWER_TYPE_INVALID, f"send {wanted}"))
    if not is_storable(answer):
        raise RefusedAnswerError(UNSTORABLE)
    return trim(answer)


#: The fault of a text that PostgreSQL's jsonb can't hold.
UNSTORABLE = (Code.ANSWER_TEXT_UNSTORABLE, "send the text without U+0000 and without unpaired surrogates")


def canonical_text(rule: Rule) -> Shape:
    """The shape of a type whose canonical texts are told from others by reading them."""

    def holds(text: str) -> bool:
        try:
            return rule.read(text) == text
        except RefusedAnswerError:
            return False

    return Shape(Annotated[str, Meta(min_length=1)], holds)
