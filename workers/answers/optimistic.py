"""The fast path: rows that are canonical already are recognised in one step of a C decoder.

It says yes only where the rules would accept the row and change nothing; everything doubtful is left to them.
What msgspec's types can't say, which is little, is asked about the decoded answers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from penstock.workers.answers.asked import AskedQuestion
from penstock.workers.answers.numbers import DOUBLE_DIGITS
from penstock.workers.answers.rule import Shape

#: What a decoder makes of a row, a msgspec.Struct made at run time; None where the row is not canonical.
_Row = Any
_Decode = Callable[[bytes], _Row]
#: Where to find an answer in a row, and what must hold for it.
_Look = tuple[Callable[[_Row], Any], Callable[[Any], bool]]

#: Stands for an answer that a row does not have: a text, since free texts are looked at without asking. Decoded
#: answers are never this object, because no shape takes an empty text.
_MISSING = ""

#: A number with more digits than doubles keep, or with an exponent. Numbers stand behind a colon; where a text has
#: a colon, this finds too much, which costs time and nothing else.
_LONG_NUMBER = re.compile(rb":\s*-?(?:[0-9][0-9.]{%d}|[0-9.]+[eE])" % (DOUBLE_DIGITS + 1))

_BACKSLASH = ord("\\")
#: U+0000 as JSON writes it, which `jsonb` refuses.
_NUL = rb"\u0000"

#: What msgspec does not take as a member's name.
_UNUSABLE_ID = re.compile(r'["\\\x00-\x1f]')


class FastPath:
    """Tells of rows' answers whether they are canonical already. Immutable, so that threads may share it.

    Args:
        questions: of the form version.
    """

    __slots__ = ("_again", "_decode", "_decode_several", "_has_texts", "_looks", "_texts_of")

    def __init__(self, questions: Iterable[AskedQuestion]) -> None:
        asked = list(questions)
        shapes = [question.rule.shape() for question in asked]
        types = [shape.type for shape in shapes]
        self._decode: _Decode = _nothing
        self._decode_several: Callable[[bytes], Sequence[_Row]] = _refused
        self._again: _Decode = _nothing
        if not any(_UNUSABLE_ID.search(question.id) for question in asked):
            row = _row_type(asked, types)
            self._decode = msgspec.json.Decoder(row).decode
            self._decode_several = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]  # made at run time
            if any(shape.with_fractions for shape in shapes):
                wider = _row_type(asked, [shape.with_fractions or shape.type for shape in shapes])
                self._again = _careful(msgspec.json.Decoder(wider).decode)
        texts = [_member(place) for place, shape in enumerate(shapes) if shape.is_free_text]
        self._has_texts = bool(texts)
        self._texts_of = _texts_of(texts)
        self._looks = [*chain.from_iterable(map(_looks, range(len(asked)), asked, shapes))]

    def recognises(self, answers: bytes) -> bool:
        """Whether one row's answers are canonical. Never raises, whatever the bytes."""
        try:
            row = self._decode(answers)
        except ValueError:
            row = self._again(answers)
        if row is None:
            return False
        # Asked of the bytes, since a member that a later one of its name replaces is not in the row. One byte is
        # found ten times as fast as six, and few rows have it.
        if _BACKSLASH in answers and _NUL in answers:
            return False
        return self._are_trimmed(row) and _all_hold(row, self._looks)

    def unrecognised(self, several: Sequence[bytes]) -> Sequence[int]:
        """The places of those that `recognises` does not. Each must be one whole JSON value, as a decoder cut it."""
        joined = b"[%b]" % b",".join(several)
        try:
            rows = self._decode_several(joined)
        except ValueError:
            return [place for place, answers in enumerate(several) if not self.recognises(answers)]
        if _BACKSLASH in joined:
            found = {place for place, answers in enumerate(several) if _BACKSLASH in answers and _NUL in answers}
        else:
            found = set()
        if self._has_texts:
            texts = list(chain.from_iterable(map(self._texts_of, rows)))
            if list(map(str.strip, texts)) != texts:
                found.update(place for place, row in enumerate(rows) if not self._are_trimmed(row))
        if self._looks:
            found.update(place for place, row in enumerate(rows) if not _all_hold(row, self._looks))
        return sorted(found)

    def _are_trimmed(self, row: _Row) -> bool:
        # `strip` knows more white space than `trim` does, and returns the same object where it finds none.
        return all(text.strip() is text for text in self._texts_of(row))


def _row_type(asked: Sequence[AskedQuestion], types: Sequence[Any]) -> type[msgspec.Struct]:
    """Rows whose answers have these types."""
    names = {_member(place): question.id for place, question in enumerate(asked)}
    fields = [
        (name, type_) if question.required else (name, type_, _MISSING)
        for name, question, type_ in zip(names, asked, types, strict=True)
    ]
    return msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)


def _refused(_answers: bytes) -> Sequence[_Row]:
    raise ValueError("a question has an id that no decoder is made for")


def _all_hold(row: _Row, looks: Sequence[_Look]) -> bool:
    for answer_of, holds in looks:
        answer = answer_of(row)
        if answer is not _MISSING and not holds(answer):
            return False
    return True


def _careful(decode: _Decode) -> _Decode:
    """Decode rows with fractions where doubles are sure to tell the truth about them."""

    def decode_short(answers: bytes) -> _Row:
        try:
            return None if _LONG_NUMBER.search(answers) else decode(answers)
        except ValueError:
            return None

    return decode_short


def _nothing(_answers: bytes) -> _Row:
    return None


def _looks(place: int, asked: AskedQuestion, shape: Shape) -> Iterator[_Look]:
    """What is to be asked about one decoded answer that its type does not say."""
    answer_of = attrgetter(_member(place))
    if shape.holds:
        yield answer_of, shape.holds
    empty_texts = asked.empty_texts
    if len(empty_texts) > 1:
        # The text of a decoded date is what was sent; of what else is no string, the test can only be too strict.
        yield answer_of, lambda answer: str(answer) not in empty_texts


def _texts_of(members: Sequence[str]) -> Callable[[_Row], tuple[str, ...]]:
    """A function that returns the free texts of a row."""
    if len(members) > 1:
        return attrgetter(*members)
    return lambda row: tuple(getattr(row, member) for member in members)


def _member(place: int) -> str:
    return f"answer_{place}"
