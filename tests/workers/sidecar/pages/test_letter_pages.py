"""The pages of dead letters on the real services, with letters that are there."""

import re
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from penstock.workers.settings import WorkerSettings
from tests.system import Database, wait_for
from tests.workers.dead_letters.replay_kit import ReplayKit, a_letter
from tests.workers.sidecar.sidecar_kit import AS_BROWSER, HERE, Client, running_app, services_of

EVENT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def app(settings: WorkerSettings) -> Iterator[FastAPI]:
    with running_app(settings, sentry_url="https://sentry.example.org/issues/?query={event}") as made:
        yield made


@pytest.fixture
def pages(app: FastAPI) -> Client:
    return Client(app, HERE, "http://127.0.0.1:9191", AS_BROWSER)


@pytest.fixture
def kit(app: FastAPI, database: Database) -> Iterator[ReplayKit]:
    services = services_of(app)
    found = ReplayKit(database, services.transactions, services.letters)
    yield found
    found.clear()


def group_of(kit: ReplayKit, dead_id: UUID) -> str:
    return kit.search.show(dead_id).letter.group


def test_a_letter_and_its_group_lead_to_the_event_at_sentry(kit: ReplayKit, pages: Client) -> None:
    told, untold = kit.die([a_letter(1, sentry=EVENT), a_letter(2, code="JOB_POISON")])
    link = f'href="https://sentry.example.org/issues/?query={EVENT}"'
    assert link in pages.get(f"/dead-letters/{told}").text
    assert link in pages.get(f"/dead-letters/groups/{group_of(kit, told)}").text
    for path in (f"/dead-letters/{untold}", f"/dead-letters/groups/{group_of(kit, untold)}"):
        assert "sentry.example.org" not in pages.get(path).text


def test_a_letter_that_is_open_again_says_why(kit: ReplayKit, pages: Client) -> None:
    lost, other = kit.die(2)
    kit.database.query(
        "UPDATE penstock.dead_letters SET resolution_reason = 'requeued by ada, and no trace of its job is left'"
        " WHERE dead_id = %s",
        lost,
    )
    shown = re.sub("<[^>]*>", "", pages.get(f"/dead-letters/{lost}").text)
    assert "Open again: requeued by ada, and no trace of its job is left." in shown
    assert "Open again" not in pages.get(f"/dead-letters/{other}").text


def test_a_group_is_put_off_and_listed_again(app: FastAPI, kit: ReplayKit, pages: Client) -> None:
    path = f"/dead-letters/groups/{group_of(kit, kit.die(3)[0])}"

    def send(**fields: str) -> httpx.Response:
        token = re.findall(r'name="csrf_token" value="([^"]+)"', pages.get(path).text)[0]
        return pages.post(f"{path}/snooze", data={"csrf_token": token} | fields)

    def needed() -> list[str]:
        return [need.path for need in services_of(app).attention.needs()]

    for wrong in ({"lasting": "2h"}, {"reason": "w"}, {"lasting": "900d", "reason": "w"}):
        assert send(**wrong).status_code == 422
    assert "until 6 letters" not in pages.get(path).text
    done = send(lasting="2h", reason="the form comes at noon")
    assert "until 6 letters are open" in re.sub("<[^>]*>", "", pages.get(done.headers["location"]).text)
    assert "snoozed" in pages.get("/dead-letters").text
    wait_for(lambda: path not in needed(), "it to need nobody")
    assert send(act="wake").status_code == 303
    wait_for(lambda: path in needed(), "it to need somebody")
    assert kit.database.query(
        "SELECT reason FROM penstock.operator_actions WHERE action = 'dead_letter_group.annotate' ORDER BY at"
    ) == [("the form comes at noon",), ("it is to be looked at again",)]
