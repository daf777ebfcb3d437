"""What Prometheus and the report on health are told of posts and accounts."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.workers.health.attention import Need
from penstock.workers.health.examination import Health
from penstock.workers.health.report import Check, Status
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.services import Services
from tests.posts_kit import Connection, ago, connect, connection, new_account, new_post, tokens_of
from tests.workers.sidecar.paced_kit import take_for_away
from tests.workers.sidecar.sidecar_kit import Client, client_of, running_app, services_of

__all__ = ["connect", "connection"]

CHECKS = ("posts", "posts_unknown", "posts_held", "accounts")


@pytest.fixture(scope="module")
def app(settings: WorkerSettings) -> Iterator[FastAPI]:
    with running_app(settings) as app:
        yield app


@pytest.fixture
def client(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr("penstock.workers.sidecar.metrics.FRESH_FOR", timedelta(0))
    return client_of(app)


def scrape(client: Client) -> dict[str, float]:
    """Samples of posts and accounts by name and the values of their labels, in the order of the labels' names."""
    text = client.get("/metrics").text
    return {
        "/".join([one.name, *(value for _, value in sorted(one.labels.items()))]): one.value
        for family in parse_text(text)
        for one in family.samples
        if one.name.startswith(("penstock_posts", "penstock_accounts"))
    }


def stand(connection: Connection, account: uuid.UUID, state: str, count: int = 1, **members: Any) -> None:
    """Posts of that state; `parked` is one as well."""
    for _ in range(count):
        post = new_post(connection, account, **members)
        is_parked = state == "parked"
        connection.execute(
            "UPDATE penstock.scheduled_posts SET state = %s, attempts = 1, claimed_by = gen_random_uuid(),"
            " claimed_at = now(), attempt_ends_by = now(), parked_at = %s WHERE post_id = %s",
            ("scheduled" if is_parked else state, ago() if is_parked else None, post),
        )


def test_posts_that_are_not_out_are_told_by_state_and_platform(client: Client, connection: Connection) -> None:
    assert scrape(client) == {"penstock_posts_overdue_seconds": 0.0}
    one, other = new_account(connection), new_account(connection, "youtube")
    for state, count in (("held", 3), ("unknown_outcome", 2), ("claimed", 1), ("publishing", 1), ("parked", 4)):
        stand(connection, one, state, count, due=ago(hours=3))
    stand(connection, other, "scheduled", 2, due=ago(minutes=2))
    stand(connection, other, "scheduled", 9, due=ago(hours=-1))
    stand(connection, other, "held")
    found = scrape(client)
    overdue = found.pop("penstock_posts_overdue_seconds")
    assert 3 * 3_600 <= overdue < 3 * 3_600 + 60
    assert found == {
        "penstock_posts/instagram/claimed": 1,
        "penstock_posts/instagram/held": 3,
        "penstock_posts/instagram/parked": 4,
        "penstock_posts/instagram/publishing": 1,
        "penstock_posts/instagram/unknown_outcome": 2,
        "penstock_posts/youtube/due": 2,
        "penstock_posts/youtube/held": 1,
        "penstock_accounts/instagram/active": 1,
        "penstock_accounts/youtube/active": 1,
    }


def test_what_waits_for_a_person_or_its_account_is_not_overdue(client: Client, connection: Connection) -> None:
    account = new_account(connection)
    for state in ("held", "unknown_outcome", "parked", "dead", "expired", "cancelled"):
        stand(connection, account, state, due=ago(hours=3))
    stand(connection, account, "scheduled", due=ago(hours=-3))
    assert scrape(client)["penstock_posts_overdue_seconds"] == 0


def test_accounts_are_told_by_state_and_by_the_end_of_their_tokens(client: Client, connection: Connection) -> None:
    new_account(connection, tokens=tokens_of("the-secret-token", None), expires_at=ago(days=-3))
    dead = new_account(connection, "youtube")
    statement = "UPDATE penstock.social_accounts SET state = 'reauthorize' WHERE account_id = %s"
    connection.execute(statement, (dead,))
    found = scrape(client)
    assert found["penstock_accounts/youtube/reauthorize"] == 1
    assert found["penstock_accounts_token_ends_soon/instagram"] == 1
    text = client.get("/metrics").text
    assert "the-secret-token" not in text
    assert str(dead) not in text


def checks(app: FastAPI) -> dict[str, Check]:
    services: Services = services_of(app)
    health = Health(services.health._sources)
    try:
        report = health.report()
    finally:
        health.close()
    return {check.name: check for check in report.checks if check.name in CHECKS}


def test_without_posts_all_is_well(app: FastAPI) -> None:
    found = checks(app)
    assert [(check.name, check.status, check.sentence) for check in found.values()] == [
        (name, Status.HEALTHY, None) for name in CHECKS
    ]


@pytest.mark.parametrize(
    ("state", "late", "status"),
    [
        ("scheduled", {"minutes": 1, "seconds": 30}, Status.WARNING),
        ("scheduled", {"minutes": 11}, Status.CRITICAL),
        ("claimed", {"minutes": 11}, Status.WARNING),
        ("publishing", {"minutes": 2}, Status.WARNING),
        ("scheduled", {"seconds": 5}, Status.HEALTHY),
    ],
)
def test_posts_that_are_late_are_told(
    app: FastAPI, connection: Connection, state: str, late: dict[str, float], status: Status
) -> None:
    stand(connection, new_account(connection), state, 2, due=ago(**late))
    check = checks(app)["posts"]
    assert check.status is status
    if status is not Status.HEALTHY:
        assert str(check.sentence).startswith("2 posts are late, the earliest by ")
        assert ("penstock posts list --state late" in check.step, check.path) == (True, "/posts/list?state=late")


def test_what_waits_for_a_person_is_told_with_the_command_for_it(app: FastAPI, connection: Connection) -> None:
    account = new_account(connection)
    stand(connection, account, "unknown_outcome")
    stand(connection, account, "held", 3)
    stand(connection, account, "parked", 5)
    statement = "UPDATE penstock.social_accounts SET state = 'reauthorize' WHERE account_id = %s"
    connection.execute(statement, (account,))
    told = {name: (check.status, check.sentence) for name, check in checks(app).items()}
    assert told == {
        "posts": (Status.HEALTHY, None),
        "posts_unknown": (Status.WARNING, "of 1 post nobody knows whether it is live"),
        "posts_held": (Status.WARNING, "3 posts came too late and are held"),
        "accounts": (Status.WARNING, "1 account must be authorised anew; 5 posts wait for an account"),
    }
    services = services_of(app)
    services.health._report = None
    needs: dict[str, Need] = {need.path: need for need in services.attention.needs()}
    for path, command in (
        ("/posts/list?state=unknown_outcome", "penstock posts list --state unknown_outcome"),
        ("/posts/list?state=held", "penstock posts list --state held"),
        ("/accounts?state=reauthorize", "penstock accounts reauthorize ID"),
    ):
        assert command in needs[path].step
        assert needs[path].link.startswith("See the ")


def test_a_token_that_ends_soon_wants_a_look(app: FastAPI, connection: Connection) -> None:
    new_account(connection, tokens=tokens_of(refresh=None), expires_at=ago(days=-3))
    check = checks(app)["accounts"]
    assert (check.status, check.path) == (Status.WARNING, "/accounts")
    assert check.sentence == "the tokens of 1 account end within a week and were not refreshed"


def test_without_postgresql_these_checks_are_unknown_and_metrics_are_those_of_before(
    app: FastAPI, client: Client, connection: Connection
) -> None:
    stand(connection, new_account(connection), "held")
    before = scrape(client)
    presence = services_of(app).servers.postgresql
    take_for_away(presence)
    try:
        assert scrape(client) == before
        assert {check.status for check in checks(app).values()} == {Status.UNKNOWN}
    finally:
        presence.ask()
