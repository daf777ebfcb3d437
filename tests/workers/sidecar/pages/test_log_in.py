"""Logging in by the page, and what each role then sees."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from penstock.workers.settings import WorkerSettings
from tests.workers.sidecar.sidecar_kit import AS_BROWSER, Client, client_of, credentials, hidden_token, running_app

LINES, TOKENS = credentials(vera="viewer", otto="operator")


@pytest.fixture(scope="module")
def app(settings: WorkerSettings) -> Iterator[FastAPI]:
    with running_app(settings, sidecar_credentials=LINES) as app:
        yield app


def logged_in(app: FastAPI, name: str) -> Client:
    browser = client_of(app, headers=AS_BROWSER)
    page = browser.get("/log-in?next=/queues/posts")
    fields = {"name": name, "token": TOKENS[name], "next": "/queues/posts", "csrf_token": hidden_token(page.text)}
    answer = browser.post("/log-in", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queues/posts")
    return browser


def test_a_page_leads_to_the_log_in_and_back(app: FastAPI) -> None:
    browser = client_of(app, headers=AS_BROWSER)
    answer = browser.get("/queues/posts")
    assert (answer.status_code, answer.headers["location"]) == (303, "/log-in?next=/queues/posts")
    page = browser.get(answer.headers["location"])
    assert 'name="next" value="/queues/posts"' in page.text
    assert "Main" not in page.text


def test_a_wrong_token_is_told_as_an_unknown_name_is(app: FastAPI) -> None:
    told = []
    for name in ("vera", "nobody"):
        browser = client_of(app, headers=AS_BROWSER)
        token = hidden_token(browser.get("/log-in").text)
        answer = browser.post("/log-in", data={"name": name, "token": "wrong", "csrf_token": token})
        assert answer.status_code == 303
        told.append(browser.get(answer.headers["location"]).text.count("The name or the token is wrong."))
    assert told == [1, 1]


def test_a_viewer_looks_and_an_operator_acts(app: FastAPI) -> None:
    viewer, operator = logged_in(app, "vera"), logged_in(app, "otto")
    seen = viewer.get("/queues/posts").text
    assert "vera, viewer" in seen
    assert "Pause" not in seen.replace("Paused", "")
    refused = viewer.post("/queues/posts/pause", data={"csrf_token": hidden_token(seen)})
    assert refused.status_code == 403
    assert "You may not do this" in refused.text
    assert "Pause…" in operator.get("/queues/posts").text
    operator.post("/log-out", data={"csrf_token": hidden_token(operator.get("/").text)})
    assert operator.get("/").status_code == 303
