"""`kill -9` of the worker in the middle of the main job, three times: every row once all the same."""

import json
import subprocess
from collections.abc import Callable
from functools import partial

import psycopg

from penstock.workers.demo import FORM_FILE, SUBMISSIONS_FILE
from tests.system import BIN, Database, Penstock, WorkerProcess, wait_for

ROWS, GOOD, BAD = 10_000, 9_985, 15
#: The worker is killed as soon as this many rows are stored.
KILL_AT = (1_000, 3_500, 6_000)
#: A killed worker's jobs are another's after that.
SETTINGS = {"PENSTOCK_LEASE_SECONDS": "2"}


def test_three_kills_cost_nothing(
    penstock: Penstock,
    start_worker: Callable[..., WorkerProcess],
    environment: dict[str, str],
    database: Database,
) -> None:
    assert penstock("forms", "apply", FORM_FILE, "--id", "strikes").code == 0
    command = ["submit", "strikes", str(SUBMISSIONS_FILE), "--batch-id", "k", "--batch-size", "50", "--wait", "--json"]
    worker = start_worker(**SETTINGS).wait_until_ready()
    submit = subprocess.Popen([BIN / "penstock", *command], env=environment, stdout=subprocess.PIPE)
    with psycopg.connect(database.admin_url, autocommit=True) as watching:

        def stored() -> int:
            ((count,),) = watching.execute("SELECT count(*) FROM penstock.submissions").fetchall()
            return int(count)

        def reached(count: int) -> bool:
            return stored() >= count

        for at in KILL_AT:
            wait_for(partial(reached, at), f"{at} stored rows")
            worker.kill()
            assert stored() < GOOD, "the kill came too late to prove anything"
            worker = start_worker(**SETTINGS)
        out, _ = submit.communicate(timeout=120)
    told = json.loads(out)
    assert (submit.returncode, told["batches"]) == (0, 200)
    assert (told["stored"], told["rejected"], told["duplicates"]) == (GOOD, BAD, 0)
    assert database.query("SELECT count(*), count(DISTINCT submission_id) FROM penstock.submissions") == [(GOOD, GOOD)]
    assert database.value("SELECT count(*) FROM penstock.submission_rejections") == BAD
    assert database.value("SELECT sum(stored + rejected) FROM penstock.submission_batches") == ROWS
