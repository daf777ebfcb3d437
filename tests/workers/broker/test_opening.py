"""The quick way of reading an envelope reads and refuses what the schema does."""

import json
from typing import Any
from uuid import UUID

import pytest

from penstock.schemas.envelope import EnvelopeHeader, decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.workers.broker.opening import open_envelope
from penstock.workers.job import JobHeader

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADER: dict[str, Any] = {
    "v": 1,
    "id": "0193f2a0-0000-7000-8000-00000000000a",
    "kind": "chore.do",
    "queue": "posts",
    "tenant": "acme",
    "enqueued_at": "2026-11-21T08:00:00.123456Z",
    "payload_version": 2,
    "state": {},
}
#: Changes to the header; None takes a member out.
QUICK: dict[str, dict[str, Any]] = {
    "as it is": {},
    "the least": {"v": None, "tenant": None, "payload_version": None, "state": None},
    "all": {"encoding": "zstd", "idempotency_key": "k" * 200, "trace": TRACE, "request_id": "r-1", "follows": TRACE},
    "a member of a later release": {"later": {"any": [1, None]}},
    "another zone": {"enqueued_at": "2026-11-21T09:30:00+01:30"},
    "whole seconds": {"enqueued_at": "2026-11-21T08:00:00Z"},
    "a notable kind": {"kind": 'ü"\\ \n', "queue": "q" * 200},
    "a state": {"state": {"attempts": 3}},
}
ODD: dict[str, dict[str, Any]] = {
    "a trace of a later version": {"trace": f"01{TRACE[2:]}-more"},
    "no trace at all": {"trace": "rubbish"},
    "a trace that is no text": {"trace": 5},
    "a request that is none": {"request_id": 'r"'},
    "a number as text": {"payload_version": "2"},
    "an id as a URN": {"id": f"urn:uuid:{HEADER['id']}"},
    "an instant as a number": {"enqueued_at": 1_763_712_000},
}
BAD: dict[str, dict[str, Any]] = {
    "another layout": {"v": 2},
    "no id": {"id": None},
    "an id that is none": {"id": "x"},
    "no kind": {"kind": ""},
    "a long kind": {"kind": "k" * 201},
    "a tenant that is none": {"tenant": "a b"},
    "a tenant and a newline": {"tenant": "acme\n"},
    "an empty tenant": {"tenant": ""},
    "an instant without zone": {"enqueued_at": "2026-11-21T08:00:00"},
    "no version": {"payload_version": 0},
    "an encoding that nobody knows": {"encoding": "lz4"},
    "a long key": {"idempotency_key": "k" * 201},
}


def message(changes: dict[str, Any]) -> bytes:
    members = {name: value for name, value in (HEADER | changes).items() if value is not None}
    return json.dumps(members).encode() + b"\n" + b'{"a":\n1}'


def what(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in JobHeader.__struct_fields__}


@pytest.mark.parametrize("changes", QUICK.values(), ids=QUICK)
def test_what_producers_write_is_read_quickly(changes: dict[str, Any]) -> None:
    header, payload = open_envelope(message(changes))
    assert isinstance(header, JobHeader)
    expected, same_payload = decode_envelope(message(changes))
    assert what(header) == what(expected)
    assert payload == same_payload == b'{"a":\n1}'
    assert isinstance(header.id, UUID)


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_what_is_odd_is_read_as_the_schema_reads_it(changes: dict[str, Any]) -> None:
    header, payload = open_envelope(message(changes))
    assert isinstance(header, EnvelopeHeader)
    assert (header, payload) == decode_envelope(message(changes))


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_what_the_schema_refuses_is_refused_with_its_words(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as expected:
        decode_envelope(message(changes))
    with pytest.raises(InvalidInputError) as refused:
        open_envelope(message(changes))
    assert (refused.value.code, refused.value.message) == (expected.value.code, expected.value.message)


@pytest.mark.parametrize("data", [b"", b"{}", b"{}\n{}", b"\xff\n{}", b"[" * 100_000 + b"\n{}"])
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        open_envelope(data)


def test_nothing_of_a_payload_is_in_what_is_shown_of_a_job() -> None:
    header, _ = open_envelope(message({}))
    assert "hunter2" not in repr(header)
