"""Posts that their platform does not take: every fault is told at once, and nothing is accepted."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from tests.posts_kit import given
from tests.producers.gateway.gateway_kit import Gateway, problem, serving
from tests.system import Database

DUE = "2027-01-01T09:00:00+01:00"


@pytest.fixture(scope="module")
def account(database: Database) -> str:
    """An account of the tenant that loopback stands for."""
    account_id = uuid4()
    with psycopg.connect(database.admin_url) as connection:
        add_account(
            connection, "default", NewAccount(account_id, "press", "mastodon", "e-1", "Us", {}), given(account_id)
        )
    return str(account_id)


def test_a_post_that_its_platform_does_not_take_is_told_every_fault(gateway: Gateway, account: str) -> None:
    media = [{"url": "http://10.0.0.1/secret.png"}, {"url": "https://cdn.penstock.io/a", "content_type": "image/bmp"}]
    content = {"text": "secret" * 100, "media": media, "link": "https://a.io", "options": {"reel": True}}
    post = {"account_id": account, "due_at": "2107-01-01T00:00:00Z", "content": content}
    answer = gateway.ask("POST", "/v1/posts", json=post, headers={"Idempotency-Key": "refused"})
    told = problem(answer, 422, "POST_SCHEDULE_INVALID")
    assert [(fault["at"], fault["code"]) for fault in told["errors"]] == [
        ("due_at", "POST_SCHEDULE_INVALID"),
        ("content.text", "POST_TEXT_TOO_LONG"),
        ("content.media.0.url", "POST_MEDIA_ADDRESS_REFUSED"),
        ("content.media.1", "POST_MEDIA_INVALID"),
        ("content.link", "POST_OPTION_INVALID"),
        ("content.options.reel", "POST_OPTION_INVALID"),
    ]
    assert "secret" not in answer.text
    empty = {"account_id": account, "due_at": DUE, "content": {}}
    (fault,) = problem(gateway.ask("POST", "/v1/posts", json=empty), 422, "POST_EMPTY")["errors"]
    assert fault["at"] == "content"
    # Nothing of it was kept: mended, it is accepted under its key.
    mended = post | {"due_at": DUE, "content": {"text": "Mended"}}
    taken = gateway.ask("POST", "/v1/posts", json=mended, headers={"Idempotency-Key": "refused"})
    assert taken.status_code == 202
    assert "idempotency-replayed" not in taken.headers


def test_media_of_a_private_host_are_taken_where_it_is_named(
    environment: dict[str, str], account: str, tmp_path: Path
) -> None:
    content = {"media": [{"url": "http://127.0.0.1:8000/a.jpg"}]}
    post = {"account_id": account, "due_at": DUE, "content": content}
    with serving(environment, tmp_path, PENSTOCK_MEDIA_PRIVATE_HOSTS="cdn.internal, 127.0.0.1") as trial:
        assert trial.ask("POST", "/v1/posts", json=post).status_code == 202
