"""Ids of many rows at once are those of each row by itself."""

import pytest

from penstock.schemas.identity import SubmissionIds


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 1), (7, 1_000), (999_999_990, 20)])
def test_ids_in_a_row_are_those_of_the_positions(first: int, count: int) -> None:
    ids = SubmissionIds("acme", "f")
    of_position = ids.of_positions("b")
    assert ids.in_a_row("b", first, count) == [of_position(position) for position in range(first, first + count)]
