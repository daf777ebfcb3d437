"""`penstock posts schedule`: a file is checked whole, sent once, and awaited; a worker stores what it brings."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.posts_kit import TENANT, Connection, new_account, row_of
from tests.system import Database, Penstock, Run, WorkerProcess

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
SECRET_TEXT = "Nobody may read this before it is out"


@pytest.fixture(scope="module")
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The commands' environment, with a tenant."""
    return environment | {"PENSTOCK_TENANT": TENANT, "PENSTOCK_POOL_MIN": "1"}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection that commits each statement; posts and accounts are removed at the end."""
    with psycopg.connect(database.url, autocommit=True) as made:
        yield made
    database.query("TRUNCATE penstock.scheduled_posts, penstock.social_accounts, penstock.outbox, penstock.job_effects")


@pytest.fixture
def accounts(connection: Connection) -> dict[str, uuid.UUID]:
    """An active account of each of two platforms."""
    return {platform: new_account(connection, platform) for platform in ("mastodon", "instagram")}


def refused(run: Run, code: str, exit_code: int = 1) -> dict[str, Any]:
    assert (run.code, run.out) == (exit_code, ""), run.err
    assert run.error["code"] == code
    assert run.error["remedy"]
    assert SECRET_TEXT not in run.err
    return run.error


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def line_of(account: uuid.UUID | str, **members: Any) -> dict[str, Any]:
    return {"account": str(account), "due_at": TOMORROW.isoformat(), "text": SECRET_TEXT} | members


def test_posts_are_stored_once_whoever_sends_the_file_again(
    penstock: Penstock,
    worker: WorkerProcess,
    connection: Connection,
    accounts: dict[str, uuid.UUID],
    tmp_path: Path,
) -> None:
    external = f"external-{accounts['mastodon']}"
    picture = {"url": "https://pictures.penstock.dev/a.jpg", "alt": "A gate"}
    file = written(
        tmp_path / "autumn posts.jsonl",
        line_of(accounts["mastodon"]),
        "",
        line_of(f"mastodon:{external}", text="by its id there", key="named-1", owner="news", grace_seconds=60),
        line_of("instagram:The press office", text="by name", media=[picture], lateness_policy="hold"),
        {
            "platform": "instagram",
            "scheduled_at": "2028-04-04T19:00:00+09:00",
            "media": ["https://pictures.penstock.dev/a.mp4"],
        },
    )
    run = penstock(
        "posts", "schedule", file, "--account", f"instagram=external-{accounts['instagram']}", "--wait", "--json"
    )
    assert run.code == 0, run.err
    told = run.json
    assert {name: told[name] for name in ("batch_id", "posts", "known", "skipped", "stored", "dead")} == {
        "batch_id": "autumn-posts.jsonl",
        "posts": 4,
        "known": 0,
        "skipped": 0,
        "stored": 4,
        "dead": 0,
    }
    assert [item["line"] for item in told["items"]] == [1, 3, 4, 5]
    ids = [uuid.UUID(item["post_id"]) for item in told["items"]]
    columns = "tenant, platform, owner, state, lateness_policy, idempotency_key"
    assert [row_of(connection, one, columns) for one in ids] == [
        (TENANT, "mastodon", "press", "scheduled", "run", "autumn-posts.jsonl-000001"),
        (TENANT, "mastodon", "news", "scheduled", "run", "named-1"),
        (TENANT, "instagram", "press", "scheduled", "hold", "autumn-posts.jsonl-000004"),
        (TENANT, "instagram", "press", "scheduled", "run", "autumn-posts.jsonl-000005"),
    ]
    assert row_of(connection, ids[3], "due_at") == datetime(2028, 4, 4, 10, tzinfo=UTC)
    assert row_of(connection, ids[3], "content")["media"][0]["kind"] == "video"
    again = penstock("posts", "schedule", file, "--account", f"instagram=external-{accounts['instagram']}", "--wait")
    assert again.code == 0, again.err
    assert "4 posts are scheduled as autumn-posts.jsonl, 4 of them stored before" in again.out
    assert all(str(one) in again.out for one in ids)
    assert connection.execute("SELECT count(*) FROM penstock.scheduled_posts").fetchone() == (4,)
    other = penstock(
        "posts", "schedule", file, "--batch-id", "b", "--account", "instagram=The press office", "--wait", "--json"
    )
    assert (other.json["stored"], other.json["known"]) == (3, 1)


def test_standard_input_and_no_wait(
    penstock: Penstock, worker: WorkerProcess, connection: Connection, accounts: dict[str, uuid.UUID]
) -> None:
    sent = json.dumps(line_of(accounts["mastodon"])).encode()
    run = penstock("posts", "schedule", "-", "--json", stdin=sent)
    assert (run.code, run.json["posts"]) == (0, 1)
    assert "stored" not in run.json
    again = penstock("posts", "schedule", "-", stdin=sent)
    assert again.out.startswith("1 posts are queued as posts-")


def test_all_that_is_wrong_is_told_and_nothing_is_sent(
    penstock: Penstock,
    connection: Connection,
    accounts: dict[str, uuid.UUID],
    tmp_path: Path,
    redis_url: str,
    namespace: str,
) -> None:
    mastodon, instagram = accounts["mastodon"], accounts["instagram"]
    file = written(
        tmp_path / "wrong.jsonl",
        line_of(mastodon, key="good"),
        line_of(mastodon, text="x" * 501),
        line_of(instagram, media=["http://pictures.penstock.dev/a.jpg", "https://10.0.0.1/a.jpg"]),
        line_of(instagram, text="no picture"),
        line_of(mastodon, due_at="2028-04-04T19:00:00"),
        line_of(mastodon, due_at=1_859_000_000),
        line_of(mastodon, due_at="2128-04-04T19:00:00Z"),
        line_of(uuid.uuid4()),
        line_of("mastodon:nobody", platform="mastodon"),
        line_of(mastodon, platform="instagram"),
        {"platform": "youtube", "text": "t", "due_at": TOMORROW.isoformat()},
        {"text": "t", "due_at": TOMORROW.isoformat()},
        line_of(mastodon, colour="red", lateness_policy="sometimes"),
        line_of(mastodon, options={"visibility": "secret"}),
        line_of(mastodon, key="good", text="another one"),
        line_of(mastodon, scheduled_at=TOMORROW.isoformat()),
        "no JSON",
        "[1]",
    )
    before = _snapshot(redis_url, namespace)
    error = refused(penstock("posts", "schedule", file, "--json"), "REQUEST_FILE_INVALID")
    assert _snapshot(redis_url, namespace) == before
    assert "17 of 18 lines are wrong; nothing was sent" in error["message"]
    assert [(fault["line"], fault["field"], fault["code"]) for fault in error["details"]["faults"]] == [
        (2, "text", "POST_TEXT_TOO_LONG"),
        (3, "media.0.url", "POST_MEDIA_ADDRESS_REFUSED"),
        (3, "media.1.url", "POST_MEDIA_ADDRESS_REFUSED"),
        (4, "media", "POST_EMPTY"),
        (5, "due_at", "POST_SCHEDULE_INVALID"),
        (6, "due_at", "POST_SCHEDULE_INVALID"),
        (7, "due_at", "POST_SCHEDULE_INVALID"),
        (8, "account", "ACCOUNT_NOT_FOUND"),
        (9, "account", "ACCOUNT_NOT_FOUND"),
        (10, "account", "ACCOUNT_INVALID_PLATFORM"),
        (11, "account", "REQUEST_FILE_INVALID"),
        (12, "account", "REQUEST_FILE_INVALID"),
        (13, "lateness_policy", "POST_SCHEDULE_INVALID"),
        (13, "colour", "REQUEST_FILE_INVALID"),
        (14, "options.visibility", "POST_OPTION_INVALID"),
        (15, "key", "POST_CONFLICT"),
        (16, "scheduled_at", "POST_SCHEDULE_INVALID"),
        (17, None, "REQUEST_FILE_INVALID"),
        (18, None, "REQUEST_FILE_INVALID"),
    ]
    plain = penstock("posts", "schedule", file)
    assert (plain.code, plain.out) == (1, "")
    assert "line 2, text: POST_TEXT_TOO_LONG: the text has 501 characters, and may have 500" in plain.err
    skipped = penstock("posts", "schedule", file, "--skip-invalid", "--json")
    assert (skipped.code, skipped.json["posts"], skipped.json["skipped"]) == (0, 1, 17)
    assert len(skipped.json["faults"]) == 19


def test_another_post_under_a_known_key_is_a_conflict_before_anything_is_sent(
    penstock: Penstock,
    worker: WorkerProcess,
    connection: Connection,
    accounts: dict[str, uuid.UUID],
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "weekly.jsonl", line_of(accounts["mastodon"]))
    assert penstock("posts", "schedule", file, "--wait").code == 0
    written(file, line_of(accounts["mastodon"], text="next week's"), line_of(accounts["mastodon"], key="fresh"))
    error = refused(penstock("posts", "schedule", file, "--json"), "REQUEST_FILE_INVALID")
    (fault,) = error["details"]["faults"]
    assert (fault["line"], fault["code"]) == (1, "POST_CONFLICT")
    assert "--batch-id" in fault["message"]
    assert connection.execute("SELECT count(*) FROM penstock.scheduled_posts").fetchone() == (1,)


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("none.jsonl",), "REQUEST_FILE_NOT_FOUND", 1),
        (("-",), "REQUEST_FILE_INVALID", 1),
        (("-", "--account", "instagram"), "REQUEST_USAGE", 2),
        (("-", "--account", "a=1", "--account", "a=2"), "REQUEST_USAGE", 2),
        (("-", "--batch-id", "a b"), "REQUEST_USAGE", 2),
    ],
)
def test_mistakes(penstock: Penstock, arguments: tuple[str, ...], code: str, exit_code: int) -> None:
    refused(penstock("posts", "schedule", *arguments, "--json", stdin=b"\n"), code, exit_code)


def _snapshot(redis_url: str, namespace: str) -> set[Any]:
    with redis.Redis.from_url(redis_url) as client:
        return set(client.scan_iter(match=f"{namespace}:*posts*", count=1_000))
