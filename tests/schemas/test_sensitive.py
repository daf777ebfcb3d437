"""Payloads as operators see them: ids and structure, and nothing of what people wrote."""

# ruff: noqa: RUF001  these are the marks of placeholders

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from penstock.schemas import job
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.schemas.sensitive import Sensitive, is_sensitive
from penstock.schemas.submission_batch import Submission
from penstock.workers.dead_letters.redaction import DEPTH_LIMIT, ITEMS_LIMIT, redact

SECRET = "swordfish"
BATCH = "submission_batch.write"


class _Media(BaseModel):
    url: str
    caption: Annotated[str | None, Sensitive()] = None


@pytest.fixture
def post_kind() -> Iterator[str]:
    class Post(Payload, kind="sensitive.post", queue=Queue.POSTS):
        account: str
        text: Annotated[str, Sensitive()]
        token: SecretStr | None = None
        media: tuple[_Media, ...] = ()
        hashtags: list[Annotated[str, Sensitive()]] | None = None
        priority: int = 0
        extra: Any = None

    yield Post.kind
    # Kinds are known to the whole process.
    job._KINDS.pop(Post.kind)


def batch(**changes: Any) -> dict[str, Any]:
    answers = {"name": SECRET, "age": 47, "colours": [SECRET] * 3, "file": {"name": SECRET}, "none": None, "sure": True}
    row = {"id": "row-1", "submitted_at": "2026-11-01T00:00:00Z", "position": 4, "answers": answers}
    return {"form_id": "poll", "batch_id": "b-1", "submissions": [row]} | changes


def test_answers_are_told_by_type_and_length() -> None:
    assert is_sensitive(Submission.model_fields["answers"].metadata)
    told = redact(BATCH, batch())
    (row,) = told.pop("submissions")
    assert told == {"form_id": "poll", "batch_id": "b-1"}
    assert row.pop("answers") == {
        "name": "‹text, 9 characters›",
        "age": "‹number›",
        "colours": "‹list of 3›",
        "file": "‹object of 1›",
        "none": None,
        "sure": "‹true or false›",
    }
    assert row == {"id": "row-1", "submitted_at": "2026-11-01T00:00:00Z", "position": 4}


def test_marks_within_lists_models_and_unions_are_found(post_kind: str) -> None:
    post = {
        "account": "news",
        "text": SECRET,
        "token": SECRET,
        "media": [{"url": "https://a.example/1.png", "caption": SECRET}],
        "hashtags": [SECRET, "x"],
        "priority": 3,
        "extra": SECRET,
    }
    assert redact(post_kind, post) == {
        "account": "news",
        "text": "‹text, 9 characters›",
        "token": "‹text, 9 characters›",
        "media": [{"url": "https://a.example/1.png", "caption": "‹text, 9 characters›"}],
        "hashtags": ["‹text, 9 characters›", "‹text, 1 character›"],
        "priority": 3,
        "extra": "‹text, 9 characters›",
    }


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(batch(form_id={"x": SECRET}), id="an object where a name belongs"),
        pytest.param(batch(form_id=f"{SECRET} here"), id="a text that is no name"),
        pytest.param(batch(form_version=SECRET), id="a text where a number belongs"),
        pytest.param(batch(submissions=SECRET), id="a text where rows belong"),
        pytest.param(batch(submissions=[SECRET]), id="a text where a row belongs"),
        pytest.param(batch(submissions=[{"answers": SECRET}]), id="a text where answers belong"),
        pytest.param(batch(submissions=[{"answers": [SECRET]}]), id="a list where answers belong"),
        pytest.param(batch(submissions=[{"name": SECRET}]), id="an answer beside the answers"),
        pytest.param(batch(unknown=SECRET), id="a member that nobody knows"),
        pytest.param(SECRET, id="no object at all"),
        pytest.param([[SECRET]], id="lists"),
    ],
)
def test_what_stands_in_the_wrong_place_is_redacted(payload: Any) -> None:
    assert SECRET not in json.dumps(redact(BATCH, payload))
    assert SECRET not in json.dumps(redact("nobody.knows", payload))


def test_a_number_as_text_is_not_taken_for_a_number() -> None:
    assert redact(BATCH, {"first_position": "4915112345678"}) == {"first_position": "‹text, 13 characters›"}


def test_of_an_unknown_kind_names_stay_and_values_go() -> None:
    told = redact("nobody.knows", {"form_id": "poll", "rows": [{"a": 1.5}, None]})
    assert told == {"form_id": "‹text, 4 characters›", "rows": [{"a": "‹number›"}, None]}
    assert len(next(iter(redact("nobody.knows", {"k" * 5_000: 1})))) < 300
    assert len(redact("nobody.knows", {"k" * 5_000: 1, "k" * 5_001: 1})) == 2


def test_the_deep_and_the_huge_are_bounded_and_told() -> None:
    deep: Any = SECRET
    for _ in range(900):
        deep = [deep]
    assert json.dumps(redact("nobody.knows", deep)).count("[") == DEPTH_LIMIT
    rows = redact(BATCH, batch(submissions=[{"answers": {}}] * (ITEMS_LIMIT + 412)))["submissions"]
    assert (len(rows), rows[-1]) == (ITEMS_LIMIT + 1, "‹412 more›")
    wide = redact(BATCH, batch(submissions=[{"answers": {str(n): n for n in range(ITEMS_LIMIT + 5)}}]))
    assert wide["submissions"][0]["answers"]["…"] == "‹5 more›"
    huge = redact("nobody.knows", [[[1] * ITEMS_LIMIT] * 100] * 10)
    assert len(json.dumps(huge, ensure_ascii=False)) < 2_000_000
