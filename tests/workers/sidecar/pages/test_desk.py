"""The pages on the real services: with both servers, and with neither."""

import re
import time
from collections.abc import Iterator
from uuid import UUID

import pytest

from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.pages.desk import ServicesDesk
from penstock.workers.sidecar.pages.needs import Desk
from tests.workers.sidecar.sidecar_kit import AS_BROWSER, HERE, Client, running_app

#: What nothing has. Fixed, since test processes have to name their cases alike.
NOBODY = UUID("6f1f0f6e-3c1b-4a52-9d3e-0d5f0a4e7b11")
ADDRESS = "http://127.0.0.1:9191"
EMPTY = [
    *("/", "/queues", "/queues/posts", "/dead-letters", "/dead-letters/list", "/dead-letters/list?payload=a.b%3D1"),
    *("/posts", "/posts/list", "/posts/list?state=late&owner=x", "/accounts", "/accounts?state=reauthorize"),
    *("/replays", "/replays/new?state=open", "/circuits", "/audit", "/audit?since=12h&actor=x", "/log-in"),
    *("/search", "/search?q=unknown", f"/search?q={NOBODY}", "/search?q=0123456789abcdef", "/search?q=%00%ED%A0%80"),
]
REFUSED = {
    "/queues/none": 404,
    "/codes/NONE": 404,
    f"/dead-letters/{NOBODY}": 404,
    f"/replays/{NOBODY}": 404,
    f"/posts/{NOBODY}": 404,
    "/posts/none": 422,
    "/posts/list?state=odd": 422,
    "/posts/list?due_after=soon": 422,
    "/posts/list?account=none": 422,
    "/posts/list?cursor=none": 422,
    "/accounts?state=odd": 422,
    "/dead-letters/groups/0123456789abcdef": 404,
    "/dead-letters/none": 422,
    "/replays/none": 422,
    "/dead-letters/list?cursor=none": 422,
    "/dead-letters/list?since=soon": 422,
    "/dead-letters/list?state=odd": 422,
    "/dead-letters?state=odd": 422,
    "/audit?since=soon": 422,
    "/replays/new": 422,
    f"/replays/new?id={NOBODY}&id=none": 422,
}


@pytest.fixture(scope="module")
def pages(settings: WorkerSettings) -> Iterator[Client]:
    with running_app(settings) as app:
        yield Client(app, HERE, ADDRESS, AS_BROWSER)


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_system_has_every_page(pages: Client, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 200
    assert "can’t be reached" not in answer.text  # noqa: RUF001


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_not_there_is_a_page_that_says_so(pages: Client, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == REFUSED[path]
    assert '<main id="main"' in answer.text


def test_a_form_without_its_token_changes_nothing(pages: Client) -> None:
    answer = pages.post("/queues/posts/pause", data={"confirmed": "yes", "reason": "because"})
    assert answer.status_code == 403
    assert "paused by" not in pages.get("/queues/posts").text


def test_a_pause_is_made_and_audited_for_who_asked(pages: Client) -> None:
    token = re.findall(r'name="csrf_token" value="([^"]+)"', pages.get("/queues/posts").text)[0]
    fields = {"csrf_token": token, "confirmed": "yes", "reason": "an upgrade"}
    done = pages.post("/queues/posts/pause", data=fields)
    assert done.status_code == 303
    # What was known a moment ago is no answer for whoever changed it.
    assert "an upgrade" in pages.get(done.headers["location"]).text
    done = pages.post("/queues/posts/resume", data=fields)
    assert "an upgrade" not in pages.get(done.headers["location"]).text


@pytest.fixture(scope="module")
def alone(settings: WorkerSettings) -> Iterator[Client]:
    """The pages where neither server was ever there."""
    nowhere = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "redis_url": "redis://127.0.0.1:1"}
    with running_app(settings, **nowhere) as app:
        yield Client(app, HERE, ADDRESS, AS_BROWSER)


@pytest.mark.parametrize("path", EMPTY)
def test_without_servers_each_page_answers_soon_and_names_what_is_missing(alone: Client, path: str) -> None:
    began = time.monotonic()
    answer = alone.get(path)
    assert time.monotonic() - began < 10
    assert answer.status_code in {200, 503}
    if path not in {"/search", "/log-in"}:
        assert re.search("(PostgreSQL|Redis) can(’|&#39;)t be reached", answer.text)  # noqa: RUF001


def test_the_desk_of_the_services_is_a_desk() -> None:
    asked = {name for name in vars(Desk) if not name.startswith("_")}
    assert asked <= set(dir(ServicesDesk))
