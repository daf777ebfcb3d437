"""Posts and accounts for pages to show: none of them is due, so nobody publishes one."""

import uuid
from datetime import UTC, datetime, timedelta

import psycopg

from penstock.schemas.post_content import PostContent
from tests.posts_kit import Connection, new_account, new_post
from tests.system import Database

STATES = ("scheduled", "held", "unknown_outcome", "dead", "expired", "published", "cancelled")


def plan(database: Database, text: str = "Herons at dusk.") -> dict[str, uuid.UUID]:
    """Posts of today and of the week in each state that waits for nobody's job; the last one of each state."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        accounts = [new_account(connection, platform, owner=owner) for platform, owner in _OWNERS]
        name = "UPDATE penstock.social_accounts SET name = %s WHERE account_id = %s"
        connection.execute(name, (text[:200], accounts[0]))
        dead = "UPDATE penstock.social_accounts SET state = 'reauthorize', state_code = %s WHERE account_id = %s"
        connection.execute(dead, ("ACCOUNT_TOKEN_EXPIRED", accounts[1]))
        found: dict[str, uuid.UUID] = {}
        for number in range(56):
            state = STATES[number % len(STATES)]
            found[state] = _post(connection, accounts[number % 4], state, number, text)
        _parked(connection, accounts[1])
        _attempts(connection, found["unknown_outcome"], accounts[0])
    return found


_OWNERS = (("instagram", "press"), ("facebook", "press"), ("youtube", "film"), ("mastodon", "press"))


def _post(connection: Connection, account: uuid.UUID, state: str, number: int, text: str) -> uuid.UUID:
    due = datetime.now(UTC) + timedelta(hours=1 + number * 2)
    post = new_post(connection, account, due, content=PostContent(text=text * 3), lateness_policy="hold")
    change = (
        "UPDATE penstock.scheduled_posts SET state = %s, published_at = %s, url = %s, external_id = %s"
        " WHERE post_id = %s"
    )
    live = (datetime.now(UTC), f"https://example.org/p/{number}", str(17_895_695 + number))
    connection.execute(change, (state, *(live if state == "published" else (None, None, None)), post))
    return post


def _parked(connection: Connection, account: uuid.UUID) -> None:
    post = new_post(connection, account, datetime.now(UTC) + timedelta(minutes=50))
    connection.execute("UPDATE penstock.scheduled_posts SET parked_at = now() WHERE post_id = %s", (post,))


def _attempts(connection: Connection, post: uuid.UUID, account: uuid.UUID) -> None:
    for seconds, phase, answer in ((90, "prepare", "pending"), (60, "prepare", "ok"), (31, "publish", "ambiguous")):
        connection.execute(
            "INSERT INTO penstock.publish_attempts (at, attempt_id, post_id, tenant, account_id, platform, attempt,"
            " phase, request, answer_class, code, platform_code, trace_id, detail, seconds, worker, release)"
            " VALUES (now() - %s * INTERVAL '1 second', gen_random_uuid(), %s, 'acme', %s, 'instagram', 1, %s, '{}',"
            " %s, NULL, 'http:500', 'AbC1dEf2', 'instagram: an answer of 500', 0.4, 'worker-1:1:a', '1.0')",
            (seconds, post, account, phase, answer),
        )
