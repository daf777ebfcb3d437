"""The rules of number and rating, and decimal numbers as people write them."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Union

from msgspec import Meta

from penstock.schemas.errors import Code
from penstock.schemas.text import trim
from penstock.workers.answers.json_text import Answer, JsonNumber
from penstock.workers.answers.rule import RefusedAnswerError, Shape

_WRITTEN = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")

_MAX_SIGNIFICANT_DIGITS = 100
#: Numbers are below 1e308 in magnitude, so that a reader with doubles can read each of them.
_MAX_MAGNITUDE = 308
#: Digits after the point that PostgreSQL's numeric holds (its documentation, table 8.2).
_MAX_DECIMAL_PLACES = 16_383
#: Longer exponents are out of range whatever the digits, and are never made an int.
_MAX_EXPONENT_DIGITS = 5

#: The integers that msgspec takes as bounds and decodes without a detour.
_INT64 = (-(2**63), 2**63 - 1)
#: Decimal numbers of up to 15 digits and the doubles next to them are in the same order.
DOUBLE_DIGITS = 15


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A decimal number, digit by digit. Work on it is linear in its length."""

    sign: str
    whole: str
    fraction: str
    exponent: str

    def json_text(self) -> str:
        """The number as JSON writes it, with every digit that counts."""
        sign = "-" if self.sign == "-" else ""
        fraction = f".{self.fraction}" if self.fraction else ""
        exponent = f"e{self.exponent}" if self.exponent else ""
        return f"{sign}{self.whole.lstrip('0') or '0'}{fraction}{exponent}"

    def value(self) -> Decimal | None:
        """The exact value; None beyond the limits on digits, magnitude and decimal places."""
        exponent = self._exponent()
        if exponent is None or len(self.fraction) - exponent > _MAX_DECIMAL_PLACES:
            return None
        power = exponent - len(self.fraction)
        digits = (self.whole + self.fraction).lstrip("0")
        significant = digits.rstrip("0")
        if not significant:
            return Decimal(0)
        if len(digits) + power > _MAX_MAGNITUDE or len(significant) > _MAX_SIGNIFICANT_DIGITS:
            return None
        return Decimal(f"{self.sign}{significant}E{power + len(digits) - len(significant)}")

    def _exponent(self) -> int | None:
        digits = self.exponent.lstrip("+-").lstrip("0")
        if len(digits) > _MAX_EXPONENT_DIGITS:
            return None
        return int(digits or "0") * (-1 if self.exponent.startswith("-") else 1)


def parse_number(text: str) -> WrittenNumber | None:
    """Read a decimal number in ASCII digits such as `70000`, `70000.`, `.5`, `-3` or `1e3`; None for other texts."""
    match = _WRITTEN.fullmatch(text)
    return WrittenNumber(*match.groups(default="")) if match else None


@dataclass(frozen=True, slots=True)
class NumberRule:
    """A number from `minimum` to `maximum`, kept digit by digit."""

    minimum: Decimal | None
    maximum: Decimal | None

    def read(self, answer: Answer) -> Answer:
        """The number as JSON; one that was sent as JSON stays as it was written."""
        written = _written(answer, "a number, or a string that is one", Code.ANSWER_NUMBER_INVALID)
        if not self._in_range(written.value()):
            raise RefusedAnswerError((Code.ANSWER_NUMBER_RANGE, self._range_told()))
        return answer if isinstance(answer, JsonNumber) else JsonNumber(written.json_text())

    def shape(self) -> Shape:
        """A whole number of 64 bits; with fractions, a double too, where the bounds say the same as doubles."""
        lowest, highest = _whole_bounds(self.minimum, self.maximum)
        whole = Annotated[int, Meta(ge=lowest, le=highest)]
        if not all(_keeps_order_as_double(bound) for bound in (self.minimum, self.maximum)):
            return Shape(whole)
        low = None if self.minimum is None else float(self.minimum)
        high = None if self.maximum is None else float(self.maximum)
        return Shape(whole, with_fractions=Union[whole, Annotated[float, Meta(ge=low, le=high)]])  # noqa: UP007

    def _in_range(self, value: Decimal | None) -> bool:
        if value is None:
            return False
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def _range_told(self) -> str:
        bounds = [f"at least {self.minimum}"] if self.minimum is not None else []
        bounds += [f"at most {self.maximum}"] if self.maximum is not None else []
        bounds.append(f"of at most {_MAX_SIGNIFICANT_DIGITS} significant digits and below 1e308 in magnitude")
        return f"send a number {', '.join(bounds)}"


@dataclass(frozen=True, slots=True)
class RatingRule:
    """A whole number from 1 to `highest`."""

    highest: int

    def read(self, answer: Answer) -> Answer:
        """The number, written without fraction or exponent."""
        wanted = f"a whole number from 1 to {self.highest}"
        rating = whole_value(_written(answer, wanted, Code.ANSWER_RATING_INVALID))
        if rating is None or not 1 <= rating <= self.highest:
            raise RefusedAnswerError((Code.ANSWER_RATING_INVALID, f"send {wanted}"))
        return JsonNumber(str(rating))

    def shape(self) -> Shape:
        """A whole number on the scale."""
        return Shape(Annotated[int, Meta(ge=1, le=self.highest)])


def whole_value(number: WrittenNumber) -> int | None:
    """The number where it is whole and of 64 bits; `4`, `4.0` and `0.4e1` are the same whole number."""
    value = number.value()
    if value is None or not _INT64[0] <= value <= _INT64[1] or value != int(value):
        return None
    return int(value)


def whole_json(number: JsonNumber) -> JsonNumber:
    """A whole number that JSON has already, written without fraction and exponent."""
    written = parse_number(number.text)
    value = whole_value(written) if written and (written.fraction or written.exponent) else None
    return number if value is None else JsonNumber(str(value))


def _written(answer: Answer, wanted: str, refusal: Code) -> WrittenNumber:
    if not isinstance(answer, (str, JsonNumber)):
        raise RefusedAnswerError((Code.ANSWER_TYPE_INVALID, f"send {wanted}"))
    written = parse_number(answer.text if isinstance(answer, JsonNumber) else trim(answer))
    if written is None:
        raise RefusedAnswerError(
            (refusal, f"send {wanted}: ASCII digits with a decimal point, without currency or thousands separators")
        )
    return written


def _whole_bounds(minimum: Decimal | None, maximum: Decimal | None) -> tuple[int, int]:
    """The smallest and the largest whole number of 64 bits within the bounds; (1, 0) where there is none."""
    lowest, highest = _INT64
    if (minimum is not None and minimum > highest) or (maximum is not None and maximum < lowest):
        return 1, 0
    if minimum is not None and minimum > lowest:
        lowest = math.ceil(minimum)
    if maximum is not None and maximum < highest:
        highest = math.floor(maximum)
    return lowest, highest


def _keeps_order_as_double(bound: Decimal | None) -> bool:
    """Whether comparing with the bound as a double tells the truth about numbers of up to 15 digits."""
    if bound is None:
        return True
    return len(bound.as_tuple().digits) <= DOUBLE_DIGITS and -DOUBLE_DIGITS <= bound.adjusted() < DOUBLE_DIGITS
