"""The sidecar's API as it is described, under generated requests, and who may ask it: a real process, real letters."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.workers.sidecar.access.gatekeeper import PROBES
from tests.served_sidecar import BATCH, PROBLEM, REASON, TOKENS, Served, letters_of, operations, posts_of, serving
from tests.system import BIN, Database

#: Generated requests for each operation, on top of one for each border of its parameters.
EXAMPLES = 25
SEED = 20261121


@pytest.fixture(scope="module")
def served(
    environment: dict[str, str], database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(environment, database, tmp_path_factory.mktemp("sidecar")) as found:
        yield found


def write_configuration(folder: Path, served: Served) -> None:
    """What the generator is told: things that are there, and the few rules that a schema can't tell."""
    letters = letters_of(served)
    words = {
        "letters": [letter["id"] for letter in letters],
        "jobs": [letter["job_id"] for letter in letters],
        "groups": sorted({letter["group"] for letter in letters}),
        "replays": [served.ask("GET", "/api/v1/replays").json()["items"][0]["id"]],
        "queues": ["submissions", "posts"],
        "posts": [post["post_id"] for post in posts_of(served)],
    }
    names = {"dead_id": "letters", "job_id": "jobs", "fingerprint": "groups", "replay_id": "replays", "queue": "queues"}
    names["post_id"] = "posts"
    lines = [
        # One of ids and filter, cursors that a page has told, filters: the description can't say these.
        "[checks]",
        "enabled = true",
        "positive_data_acceptance.enabled = false",
        *(f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in words.items()),
        "[parameters]",
        *(f'"path.{name}" = {{ dictionary = "{which}", probability = 0.7 }}' for name, which in names.items()),
        # Here a path takes what another path could be: `PUT /limits/a/default` sets the limit of the key `a/default`.
        "[[operations]]",
        r'include-path-regex = "^/api/v1/(limits/.key./(default|unblock)|dead-letters/discard)$"',
        "checks.unsupported_method.enabled = false",
        "checks.allow_header_conformance.enabled = false",
    ]
    (folder / "schemathesis.toml").write_text("\n".join(lines))


def test_generated_requests_meet_no_fault_and_every_answer_is_as_described(served: Served, tmp_path: Path) -> None:
    write_configuration(tmp_path, served)
    command = [
        *(BIN / "schemathesis", "run", f"{served.url}/api/v1/openapi.json", "--header"),
        *(f"Authorization: Bearer {TOKENS['ada']}", "--seed", str(SEED), "--generation-deterministic"),
        *("--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"),
        *("--continue-on-failure", "--no-color", "--request-timeout", "5", "--suppress-health-check", "all"),
        *("--warnings", "off"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, check=False, text=True)
    print(done.stdout[-900:])
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]


def test_without_a_credential_nothing_but_the_probes_answers(served: Served) -> None:
    guarded = [(method, path) for method, path in operations(served) if path not in PROBES]
    assert len(guarded) > 30
    wrong = {"Authorization": "Bearer none-of-ours"}
    for method, path in guarded:
        for headers in ({}, wrong):
            answer = served.ask(method, path, by=None, json=REASON, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM), (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in PROBES:
        assert served.ask("GET", path, by=None).status_code in {200, 503}, path
    told = served.ask("GET", "/health", by=None).json()
    assert "sentence" not in told or "seconds" not in json.dumps(told), told


def test_a_viewer_changes_nothing(served: Served, database: Database) -> None:
    before = _state(database)
    changing = [(method, path) for method, path in operations(served) if method != "GET"]
    assert len(changing) > 15
    for method, path in changing:
        answer = served.ask(method, path, by="vera", json=REASON)
        assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_FORBIDDEN"), (method, path, answer.text)
    assert _state(database) == before


def test_what_people_wrote_is_for_admins(served: Served) -> None:
    letter = next(found["id"] for found in letters_of(served) if found["form"] == "poll")
    for action, body in (("reveal", REASON), ("requeue", {**REASON, "payload": BATCH, "dry_run": True})):
        answer = served.ask("POST", f"/api/v1/dead-letters/{letter}/{action}", by="otto", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_FORBIDDEN"), (action, answer.text)
    post = posts_of(served)[0]["post_id"]
    answer = served.ask("POST", f"/api/v1/posts/{post}/reveal", by="otto", json=REASON)
    assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_FORBIDDEN"), answer.text


def _state(database: Database) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT (SELECT md5(string_agg(d::text, '' ORDER BY dead_id)) FROM penstock.dead_letters d),"
        " (SELECT md5(string_agg(p::text, '' ORDER BY post_id)) FROM penstock.scheduled_posts p),"
        " (SELECT count(*) FROM penstock.replays), (SELECT count(*) FROM penstock.outbox)"
    )


def test_hosts_that_a_browser_may_be_led_by_need_a_log_in(served: Served) -> None:
    # With credentials and no list of hosts any name may lead here; each needs the log-in then.
    evil = {"Host": "evil.example"}
    assert served.ask("GET", "/api/v1/queues", by=None, headers=evil).status_code == 401
    assert served.ask("GET", "/api/v1/queues", headers=evil).status_code == 200


def test_a_browser_needs_the_token_of_its_page(served: Served) -> None:
    with httpx.Client(base_url=served.url, headers={"Accept": "text/html"}, timeout=10) as browser:
        page = browser.get("/log-in").text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        form = {"name": "otto", "token": TOKENS["otto"], "next": "/queues"}
        assert browser.post("/log-in", data=form).status_code == 403
        assert browser.post("/log-in", data={**form, "csrf_token": "0" * 64}).status_code == 403
        entered = browser.post("/log-in", data={**form, "csrf_token": found[1]})
        assert (entered.status_code, entered.headers["location"]) == (303, "/queues")
        assert browser.get("/queues").status_code == 200
        pause = "/api/v1/queues/posts/pause"
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"X-CSRF-Token": "x"},
        ):
            answer = browser.post(pause, json=REASON, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM), headers
            assert answer.json()["code"] == "AUTH_CSRF_INVALID"
    states = served.ask("GET", "/api/v1/queues").json()["items"]
    assert [state["paused"] for state in states if state["queue"] == "posts"] == [None]
