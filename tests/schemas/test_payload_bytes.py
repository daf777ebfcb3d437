"""The bytes of payloads: by which way they are written, they are the same, since they make the digest."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_serializer

from penstock.schemas.encoding import compact_json
from penstock.schemas.job import _KINDS, Payload, _is_plain
from penstock.schemas.limits import Limits
from penstock.schemas.names import Queue


class Part(BaseModel):
    name: str | None = None
    of: UUID | None = None


class Plain(Payload, kind="test.plain_bytes", queue=Queue.POSTS):
    type: str
    number: int
    yes: bool
    id: UUID
    part: Part = Part()
    note: str | None = None


class Measured(Payload, kind="test.measured_bytes", queue=Queue.POSTS):
    number: float


class Written(Payload, kind="test.written_bytes", queue=Queue.POSTS):
    number: int

    @field_serializer("number")
    def write(self, number: int) -> float:
        return number / 10


class Open(Payload, kind="test.open_bytes", queue=Queue.POSTS):
    model_config = ConfigDict(extra="allow")


class Anything(Payload, kind="test.anything_bytes", queue=Queue.POSTS):
    what: Any


# No other test of this process should find kinds that no worker knows.
for made in (Plain, Measured, Written, Open, Anything):
    del _KINDS[made.kind]


def by_python(payload: Payload) -> bytes:
    return compact_json(payload.model_dump(mode="json", exclude_none=True))


# With unpaired surrogates, which UTF-8 can't hold; a validated text has none.
TEXTS = st.text(st.characters(exclude_categories=()))


@given(TEXTS, st.integers(), st.booleans(), st.uuids(), st.none() | TEXTS)
def test_both_ways_write_the_same(text: str, number: int, yes: bool, identity: UUID, note: str | None) -> None:
    payload = Plain.model_construct(
        type=text, number=number, yes=yes, id=identity, part=Part.model_construct(name=note, of=identity), note=note
    )
    assert payload.encode(Limits()).body == by_python(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(Measured(number=1e16), id="float"),
        pytest.param(Written(number=10**17), id="serializer"),
        pytest.param(Open.model_validate({"number": 1e16}), id="extra members"),
        pytest.param(Anything(what=1e16), id="anything"),
    ],
)
def test_what_may_hold_a_float_goes_the_longer_way(payload: Payload) -> None:
    assert not _is_plain(type(payload))
    assert b"1e+16" in payload.encode(Limits()).body


def test_the_shorter_way_is_taken() -> None:
    assert _is_plain(Plain)
