"""The main job through PgBouncer in transaction mode, which Debian's release runs without prepared statements."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.schemas.post_content import PostContent
from penstock.workers.demo import FORM_FILE, SUBMISSIONS_FILE
from tests.pooler import pgbouncer
from tests.recovery.posts_trial import PostsTrial
from tests.recovery.stand_in_process import StandInProcess
from tests.system import Database, Penstock, WorkerProcess, wait_for


@pytest.fixture(scope="module")
def pooler(database: Database) -> Iterator[str]:
    """The URL of a PgBouncer before the module's database."""
    with pgbouncer(database) as url:
        yield url


def test_the_main_job_through_a_pooler(
    pooler: str, penstock: Penstock, start_worker: Callable[..., WorkerProcess], database: Database, tmp_path: Path
) -> None:
    pooled: dict[str, str | None] = {"DATABASE_URL": pooler, "PENSTOCK_PREPARE_STATEMENTS": "off"}
    worker = start_worker(DATABASE_URL=pooler, PENSTOCK_PREPARE_STATEMENTS="off").wait_until_ready()
    assert penstock("forms", "apply", FORM_FILE, "--id", "strikes", env=pooled).code == 0
    for batch in ("first", "first", "second"):
        run = penstock("submit", "strikes", SUBMISSIONS_FILE, "--batch-id", batch, "--wait", "--json", env=pooled)
        assert run.code == 0, run.err
    assert run.json["stored"] == 9_985
    assert database.value("SELECT count(*) FROM penstock.submissions") == 2 * 9_985
    assert penstock("batch", "show", "second", "--rejections", "--json", env=pooled).json["rejected"] == 15
    assert penstock("health", "--json", env=pooled).code == 0
    # A pooler passes no event on. The worker knows it, and uses a new version within seconds all the same.
    wait_for(lambda: any("events of forms do not arrive" in line for line in worker.lines), "the worker's warning")
    changed = json.loads(FORM_FILE.read_bytes())
    changed["questions"][6]["options"] += ["B", "C"]
    (tmp_path / "form.json").write_text(json.dumps(changed))
    assert penstock("forms", "apply", tmp_path / "form.json", "--id", "strikes", env=pooled).code == 0
    attempts = iter(range(100))

    def stores_all() -> bool:
        name = f"later-{next(attempts)}"
        run = penstock("submit", "strikes", SUBMISSIONS_FILE, "--batch-id", name, "--wait", "--json", env=pooled)
        return bool(run.json["stored"] == 10_000)

    wait_for(stores_all, "the new version")


def test_posts_through_a_pooler(pooler: str, environment: dict[str, str], database: Database) -> None:
    pooled = environment | {"DATABASE_URL": pooler, "PENSTOCK_PREPARE_STATEMENTS": "off"}
    with StandInProcess() as stand_in, PostsTrial(pooled, database, stand_in) as trial:
        trial.start_workers(1)
        trial.start_schedulers(1)
        accounts = [trial.add_account(platform, platform) for platform in ("mastodon", "facebook")]
        due_at = datetime.now(UTC) + timedelta(seconds=3)
        asked = [
            (account, PostContent(text=f"{number} of {account.name}"), due_at)
            for account in accounts
            for number in range(10)
        ]
        trial.wait_until_stored(trial.schedule(asked))
        trial.wait_until_ended(60)
        ends = trial.assert_sound(len(asked))
    assert all(end.published for end in ends.values())
