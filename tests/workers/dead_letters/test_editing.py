"""An edited payload: judged with all its faults, with a difference that tells no value."""

import json
from dataclasses import replace
from typing import Any

import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.limits import Limits
from penstock.workers.dead_letters.editing import CHANGES_LIMIT, editable, propose
from penstock.workers.dead_letters.letters import Letter, LetterDetail, LetterState
from tests.workers.dead_letters.letter_kit import BEGINNING, death

BEFORE = b'{"order":"k","count":1,"about":{"form":"f","place":"here"}}'


def detail(kind: str = "letters.ship", version: int = 3, key: str | None = "k") -> LetterDetail:
    record = death(kind=kind, payload_version=version, idempotency_key=key)
    letter = Letter(
        dead_id=record.dead_id,
        job_id=record.job_id,
        queue=record.queue,
        kind=kind,
        tenant="default",
        code=record.code,
        message=record.message,
        error=None,
        attempts=1,
        died_at=record.died_at,
        group="0" * 16,
        state=LetterState.OPEN,
        became=None,
        form_id=None,
        platform=None,
        account=None,
        release="1.0",
        message_bytes=1,
    )
    nothing: dict[str, Any] = dict.fromkeys(
        ("trace_id", "resolved_at", "resolved_by", "resolution_reason", "replay_id", "edited", "sentry_id")
    )
    return LetterDetail(
        letter=letter,
        recoveries=0,
        crashes=0,
        postpones=0,
        payload_version=version,
        idempotency_key=key,
        enqueued_at=BEGINNING,
        archived_at=BEGINNING,
        worker="",
        history=[],
        readable=True,
        other_deaths=[],
        **nothing,
    )


def edited(**changes: Any) -> str:
    return json.dumps(json.loads(BEFORE) | changes)


def test_every_fault_is_told_with_its_path() -> None:
    with pytest.raises(InvalidInputError) as raised:
        propose(detail(), BEFORE, edited(count="many", about={"form": 7}, colour="red"))
    assert raised.value.code is Code.JOB_PAYLOAD_INVALID
    faults = raised.value.details["faults"]
    assert {fault["path"] for fault in faults} == {"count", "about.form", "colour"}
    assert all(fault["message"] for fault in faults)
    assert "schema" in raised.value.remedy
    assert "many" not in json.dumps(raised.value.as_dict())


NO_JSON = {
    "cut short": ('{"order": ', "line 1"),
    "not a number": ('{"order": "k", "count": NaN}', "NaN"),
    "not UTF-8": (b"\xff", "UTF-8"),
    "too deep": ("[" * 100_000, "JSON"),
    "empty": ("", "line 1"),
}


@pytest.mark.parametrize(("text", "told"), NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_told_where(text: str | bytes, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as raised:
        propose(detail(), BEFORE, text)
    assert raised.value.code is Code.JOB_PAYLOAD_INVALID


def test_the_difference_names_paths_and_types_and_no_value() -> None:
    after = edited(count=2, about={"form": "secret form"}, account="ada@example.org")
    edit = propose(detail(), BEFORE, after)
    assert edit.difference == [
        {"path": "count", "before": "number", "after": "number"},
        {"path": "about.form", "before": "text, 1 characters", "after": "text, 11 characters"},
        {"path": "about.place", "before": "text, 4 characters", "after": None},
        {"path": "account", "before": None, "after": "text, 15 characters"},
    ]
    assert edit.version == 3


def test_nothing_changed_is_no_difference() -> None:
    assert propose(detail(), BEFORE, edited()).difference == []


def test_a_long_difference_is_bounded() -> None:
    about = {f"name-{n}": "x" for n in range(CHANGES_LIMIT + 50)}
    difference = propose(detail(), BEFORE, edited(about=about)).difference
    assert len(difference) == CHANGES_LIMIT + 1
    assert difference[-1]["after"] == "52 more changes"


def test_what_was_written_is_sent_without_its_white_space() -> None:
    text = '{ "order": "k",\n\t"count": 1,\r\n "about": {"form": "a \\" b  c", "n": "1.10"} }'
    assert (
        propose(detail(), BEFORE, text).payload == b'{"order":"k","count":1,"about":{"form":"a \\" b  c","n":"1.10"}}'
    )


def test_an_edit_can_mend_what_was_no_json() -> None:
    edit = propose(detail(), b"{broken", edited())
    assert edit.difference == [{"path": "", "before": "null", "after": "object of 3"}]


def test_an_edit_must_stay_the_same_job() -> None:
    with pytest.raises(InvalidInputError, match="names the job"):
        propose(detail(), BEFORE, edited(order="another"))
    assert propose(detail(key=None), BEFORE, edited(order="another")).difference


def test_an_edit_is_of_the_present_version() -> None:
    old = detail(version=2)
    before = b'{"order":"k","count":"7"}'
    assert json.loads(editable(old, before)) == {"order": "k", "count": 7}
    assert propose(old, before, '{"order":"k","count":7}').difference == []
    with pytest.raises(InvalidInputError, match="version 1"):
        editable(replace(old, payload_version=1), before)


def test_an_unknown_kind_cant_be_edited() -> None:
    with pytest.raises(InvalidInputError) as raised:
        propose(detail(kind="nobody.knows"), BEFORE, edited())
    assert raised.value.code is Code.JOB_UNKNOWN_KIND


def test_an_edit_has_the_limit_of_every_payload() -> None:
    with pytest.raises(InvalidInputError) as raised:
        propose(detail(), BEFORE, edited(about={"a": "x" * 2_000}), limits=Limits(message_bytes=1_000))
    assert raised.value.code is Code.BATCH_TOO_LARGE
