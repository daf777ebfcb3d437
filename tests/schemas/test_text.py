import sys

import pytest

from penstock.schemas.text import WHITE_SPACE, is_storable, trim


def test_white_space_is_what_python_calls_space_but_for_the_four_separators_of_data() -> None:
    spaces = {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()}
    assert set(WHITE_SPACE) == spaces - set("\x1c\x1d\x1e\x1f")
    assert len(WHITE_SPACE) == 25


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        pytest.param("\u00a0\u2003 a b\u3000\t", "a b", id="all sorts of spaces at both ends"),
        pytest.param("a\u00a0b", "a\u00a0b", id="spaces inside stay"),
        pytest.param("\x1ca\x1f", "\x1ca\x1f", id="separators of data stay"),
        pytest.param("\u200ba\ufeff", "\u200ba\ufeff", id="zero width characters are no white space"),
        pytest.param(" \r\n", "", id="nothing but white space"),
    ],
)
def test_trim(text: str, trimmed: str) -> None:
    assert trim(text) == trimmed


@pytest.mark.parametrize(
    ("text", "storable"),
    [
        pytest.param("é\ufffd\U0010ffff\x01", True, id="all else"),
        pytest.param("a\x00", False, id="NUL"),
        pytest.param("\ud800", False, id="high surrogate"),
        pytest.param("\udfff", False, id="low surrogate"),
    ],
)
def test_is_storable(text: str, storable: bool) -> None:
    assert is_storable(text) is storable
