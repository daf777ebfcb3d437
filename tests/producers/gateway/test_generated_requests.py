"""Generated requests against the description: no fault of the gateway's, no answer that is not described.

PENSTOCK_TEST_FULL=1 lets requests follow from answers for five minutes instead of 15 seconds; PENSTOCK_TEST_SEED
repeats a run's choices.
"""

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from penstock.producers.gateway.description.examples import FORM, FORM_ID
from penstock.schemas.api_key import Scope
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from penstock.workers.posts.intake import schedule_post
from tests.posts_kit import ago, given, post_of
from tests.producers.gateway.gateway_kit import Gateway, serving
from tests.system import BIN, Database, Penstock

#: Generated requests for each operation, on top of one for each border of its parameters.
EXAMPLES = 25
SEED = 20261121
STATEFUL_SECONDS = 300 if os.environ.get("PENSTOCK_TEST_FULL") == "1" else 15
#: How lines are sent, which the generator does not know.
HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
"""
SECRET = {"PENSTOCK_API_KEY_SECRET": "s1:" + "0123456789abcdef" * 4}


@pytest.fixture(scope="module")
def key(penstock: Penstock) -> str:
    """A key that may do everything for the tenant of the posts below."""
    scopes = (part for scope in Scope for part in ("--scope", str(scope)))
    made = penstock(*("keys", "create", "--tenant", "default", "--name", "all", "--json"), *scopes, env=dict(SECRET))
    assert made.code == 0, made.err
    text: str = made.json["key"]
    return text


@pytest.fixture(scope="module")
def keyed(environment: dict[str, str], key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(environment, tmp_path_factory.mktemp("generated"), **SECRET) as found:
        yield found


def write_configuration(folder: Path, database: Database, gateway: Gateway, key: str) -> None:
    """What the generator is told: things that are there, and the few rules that a schema can't tell."""
    account = uuid4()
    posts = [uuid4() for _ in range(5)]
    with psycopg.connect(database.admin_url) as connection:
        add_account(
            connection, "default", NewAccount(account, "press", "mastodon", f"e-{account}", "Us", {}), given(account)
        )
        for post in posts:
            schedule_post(connection, "default", post, post_of(account, ago(hours=-24)))
    told = {"Authorization": f"Bearer {key}"}
    assert gateway.ask("PUT", f"/v1/forms/{FORM_ID}", json=FORM, headers=told).status_code in {200, 201}
    rows = {"submissions": [{"answers": {"name": "Ada", "stars": 5}}]}
    sent = gateway.ask("POST", f"/v1/forms/{FORM_ID}/submissions", json=rows, headers=told).json()
    words = {
        "forms": [FORM_ID],
        "batches": [sent["base_batch_id"], sent["batches"][0]["batch_id"]],
        "jobs": [sent["batches"][0]["job_id"]],
        "posts": [str(post) for post in posts],
    }
    names = {"form_id": "forms", "batch_id": "batches", "job_id": "jobs", "post_id": "posts"}
    lines = [
        # Cursors that a page has told, rules of forms and of keys: the description can't say these.
        "[checks]",
        "enabled = true",
        "positive_data_acceptance.enabled = false",
        # Models take 0 for false and 1.0 for 1, as they always have; any visible text is a key.
        "negative_data_rejection.enabled = false",
        *(f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in words.items()),
        "[parameters]",
        *(f'"path.{name}" = {{ dictionary = "{which}", probability = 0.7 }}' for name, which in names.items()),
    ]
    (folder / "hooks.py").write_text(HOOKS)
    (folder / "schemathesis.toml").write_text("\n".join(lines))


def generate(gateway: Gateway, key: str, folder: Path, *arguments: str, seconds: int = 300) -> str:
    """Run schemathesis against the gateway; returns what it tells."""
    command = [
        *(BIN / "schemathesis", "run", f"{gateway.url}/v1/openapi.json", "--header", f"Authorization: Bearer {key}"),
        *("--continue-on-failure", "--no-color", "--request-timeout", "20", "--suppress-health-check", "all"),
        *("--warnings", "off", *arguments),
    ]
    variables = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, timeout=seconds, check=False, text=True
    )
    print(done.stdout[-900:])
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]
    return done.stdout


def test_generated_requests_meet_no_fault_and_every_answer_is_as_described(
    keyed: Gateway, key: str, database: Database, tmp_path: Path
) -> None:
    write_configuration(tmp_path, database, keyed, key)
    told = generate(
        *(keyed, key, tmp_path, "--seed", str(SEED), "--generation-deterministic", "--max-examples", str(EXAMPLES)),
        *("--phases", "examples,coverage,fuzzing,stateful"),
    )
    assert _cases(told) > 500, told[-900:]


def test_requests_that_follow_from_answers_meet_no_fault_for_minutes(
    keyed: Gateway, key: str, database: Database, tmp_path: Path
) -> None:
    write_configuration(tmp_path, database, keyed, key)
    seed = os.environ.get("PENSTOCK_TEST_SEED", str(secrets.randbelow(10**9)))
    print(f"PENSTOCK_TEST_SEED={seed}")
    before = keyed.memory_mb()
    began = time.monotonic()
    told = generate(
        *(keyed, key, tmp_path, "--seed", seed, "--phases", "coverage,stateful", "--max-time", str(STATEFUL_SECONDS)),
        *("--max-examples", "1000000"),
        seconds=STATEFUL_SECONDS + 300,
    )
    assert time.monotonic() - began > STATEFUL_SECONDS - 1
    assert _cases(told) > 5 * STATEFUL_SECONDS, told[-900:]
    assert keyed.memory_mb() - before < 100


def _cases(told: str) -> int:
    found = re.search(r"(\d+) generated, (\d+) passed", told)
    assert found is not None, told[-900:]
    return int(found[2])
