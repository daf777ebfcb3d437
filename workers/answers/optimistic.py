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

FastPath = Callable[[bytes], bool]
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


def compile_fast_path(questions: Iterable[AskedQuestion]) -> FastPath:
    """Make the function that tells whether a row's answers are canonical already."""
    asked = list(questions)
    if any(_UNUSABLE_ID.search(question.id) for question in asked):
        return lambda _answers: False
    shapes = [question.rule.shape() for question in asked]
    decode = _decoder(asked, [shape.type for shape in shapes])
    again: _Decode = _nothing
    if any(shape.with_fractions for shape in shapes):
        again = _careful(_decoder(asked, [shape.with_fractions or shape.type for shape in shapes]))
    texts_of = _texts_of([_member(place) for place, shape in enumerate(shapes) if shape.is_free_text])
    looks = [*chain.from_iterable(map(_looks, range(len(asked)), asked, shapes))]
    return _fast_path(decode, again, texts_of, looks)


def _decoder(asked: Sequence[AskedQuestion], types: Sequence[Any]) -> _Decode:
    """A decoder of rows whose answers have these types."""
    names = {_member(place): question.id for place, question in enumerate(asked)}
    fields = [
        (name, type_) if question.required else (name, type_, _MISSING)
        for name, question, type_ in zip(names, asked, types, strict=True)
    ]
    row = msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(row).decode


def _fast_path(
    decode: _Decode, again: _Decode, texts_of: Callable[[_Row], tuple[str, ...]], looks: Sequence[_Look]
) -> FastPath:
    def is_canonical(answers: bytes) -> bool:
        try:
            row = decode(answers)
        except ValueError:
            row = again(answers)
            if row is None:
                return False
        # Asked of the bytes, since a member that a later one of its name replaces is not in the row. One byte is
        # found ten times as fast as six, and few rows have it.
        if _BACKSLASH in answers and _NUL in answers:
            return False
        # Loops in place of `all`: this is the hottest function of the package.
        for text in texts_of(row):
            # `strip` knows more white space than `trim` does, and returns the same object where it finds none.
            if text.strip() is not text:
                return False
        return not looks or _all_hold(row, looks)

    return is_canonical


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
