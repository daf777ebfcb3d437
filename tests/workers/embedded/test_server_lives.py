"""Servers as processes: as which user they run, and that they follow their parent into death."""

import json
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.privileges import server_identity
from penstock.workers.embedded.valkey import EmbeddedValkey
from tests.servers import FAST_SETTINGS
from tests.workers.embedded.processes import Script, wait_for_end

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

#: Starts both servers, prints what a test wants to know, and waits to be killed or told to stop.
SERVE = """
import json, signal, sys
from pathlib import Path
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
with Home(Path(sys.argv[1])) as home:
    postgres, valkey = EmbeddedPostgres(home, settings={"fsync": "off"}), EmbeddedValkey(home)
    urls = {"postgres_url": postgres.start().admin, "valkey_url": valkey.start()}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print(json.dumps({"postgres": postgres.pid, "valkey": valkey.pid, **urls}))
    signal.sigwait([signal.SIGTERM])
    valkey.stop()
    postgres.stop()
"""


def told(script: Script) -> dict[str, str]:
    found: dict[str, str] = json.loads(script.wait_for(lambda line: line.startswith("{")))
    return found


def assert_both_answer(found: dict[str, str]) -> None:
    with psycopg.connect(found["postgres_url"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with redis.Redis.from_url(found["valkey_url"]) as client:
        assert client.ping()


def test_servers_follow_a_killed_parent_and_start_again_at_once(tmp_path: Path, run: Callable[..., Script]) -> None:
    first = run(SERVE, tmp_path)
    before = told(first)
    with psycopg.connect(before["postgres_url"]) as connection:
        connection.execute("CREATE TABLE committed AS SELECT 7 AS n")
    first.process.kill()
    second = run(SERVE, tmp_path)  # while the first one's servers may still be stopping
    after = told(second)
    wait_for_end(int(before["postgres"]), int(before["valkey"]))
    assert_both_answer(after)
    with psycopg.connect(after["postgres_url"]) as connection:
        assert connection.execute("SELECT n FROM committed").fetchone() == (7,)
    second.process.terminate()
    assert second.end() == 0
    wait_for_end(int(after["postgres"]), int(after["valkey"]))


def test_orphans_that_did_not_hear_of_their_parents_death_are_stopped(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    first = run(SERVE, tmp_path)
    before = told(first)
    os.kill(int(before["valkey"]), signal.SIGSTOP)  # it can't act on the death signal
    first.process.kill()
    first.process.wait()
    wait_for_end(int(before["postgres"]))
    with Home(tmp_path) as home:
        valkey = EmbeddedValkey(home, stop_limit=timedelta(seconds=0.5))
        valkey.start()
        wait_for_end(int(before["valkey"]))
        valkey.stop()


def test_two_homes_at_once(tmp_path: Path, run: Callable[..., Script]) -> None:
    scripts = [run(SERVE, tmp_path / name) for name in ("one", "two")]
    found = [told(script) for script in scripts]
    for each in found:
        assert_both_answer(each)
    assert len({each[name] for each in found for name in ("postgres_url", "valkey_url")}) == 4
    scripts[0].process.terminate()
    assert scripts[0].end() == 0
    assert_both_answer(found[1])


@as_root
@pytest.mark.parametrize("closed", [False, True], ids=["reachable", "below a closed folder"])
def test_root_hands_the_servers_to_nobody(closed: bool, open_folder: Path) -> None:
    open_folder.chmod(0o700 if closed else 0o755)
    with Home(open_folder / "home") as home:
        postgres, valkey = EmbeddedPostgres(home, settings=FAST_SETTINGS), EmbeddedValkey(home)
        try:
            assert_both_answer({"postgres_url": postgres.start().admin, "valkey_url": valkey.start()})
            for server in (postgres, valkey):
                status = process_status(server.pid)
                assert set(status["Uid"].split()) == {str(pwd.getpwnam("nobody").pw_uid)}
                assert status["Groups"] == ""
                assert status["NoNewPrivs"] == "1"
                # Bit 2 is CAP_DAC_READ_SEARCH.
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == (1 << 2 if closed else 0)
        finally:
            valkey.stop()
            postgres.stop()


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to take a capability away")
@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("-dac_read_search", "1"),
        ("-dac_read_search,-dac_override", "PostgreSQL does not run as root"),
        ("-setuid", "PostgreSQL does not run as root"),
    ],
    ids=["falls back to dac_override", "no way to pass", "no way to become another"],
)
def test_root_without_a_capability(missing: str, expected: str, open_folder: Path, run: Callable[..., Script]) -> None:
    open_folder.chmod(0o700)
    script = run(
        """
import os, sys
from pathlib import Path
SOURCE = sys.orig_argv[sys.orig_argv.index('-c') + 1]
if len(sys.argv) == 3:
    os.execvp("setpriv", ["setpriv", "--bounding-set", sys.argv[2], sys.executable, "-c", SOURCE, sys.argv[1]])
from penstock.schemas.errors import PenstockError
from penstock.workers.embedded.privileges import server_identity
try:
    print(server_identity((Path(sys.argv[1]),)).capability)
except PenstockError as error:
    print(error.message, error.remedy)
""",
        open_folder,
        missing,
    )
    script.wait_for(expected)


@as_root
def test_an_ordinary_user_runs_the_servers_as_itself(open_folder: Path, run: Callable[..., Script]) -> None:
    ordinary = server_identity((Path(sys.executable), Path(__file__).parent))
    ordinary.own(open_folder)
    script = run(SERVE, open_folder / "home", identity=ordinary)
    found = told(script)
    assert_both_answer(found)
    assert process_status(int(found["postgres"]))["Uid"].split()[0] == str(ordinary.uid)
    script.process.kill()
    wait_for_end(int(found["postgres"]), int(found["valkey"]))
    assert (open_folder / "home").stat().st_mode & 0o777 == 0o700


def process_status(pid: int | None) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
