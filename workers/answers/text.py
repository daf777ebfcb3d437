"""The rule of text and textarea: any text, as it was sent."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from penstock.schemas.errors import Code
from penstock.schemas.text import is_storable, trim
from penstock.workers.answers.json_text import Answer
from penstock.workers.answers.rule import UNSTORABLE, RefusedAnswerError, Shape


@dataclass(frozen=True, slots=True)
class TextRule:
    """A string of at most `max_length` characters (code points) after trimming."""

    max_length: int

    def read(self, answer: Answer) -> Answer:
        """The trimmed text."""
        if not isinstance(answer, str):
            raise RefusedAnswerError((Code.ANSWER_TYPE_INVALID, "send a string"))
        text = trim(answer)
        faults = []
        if len(text) > self.max_length:
            faults.append((Code.ANSWER_TOO_LONG, f"send at most {self.max_length:,} characters"))
        if not is_storable(text):
            faults.append(UNSTORABLE)
        if faults:
            raise RefusedAnswerError(*faults)
        return text

    def shape(self) -> Shape:
        """A string that is neither empty nor too long."""
        return Shape(Annotated[str, Meta(min_length=1, max_length=self.max_length)], is_free_text=True)
