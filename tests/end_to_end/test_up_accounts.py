"""`penstock up` and accounts: on one machine they work without configuration, also after a restart."""

import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system import BIN, Run, wait_for

#: PostgreSQL, Valkey, the migrations and all processes start within it, on a busy machine too.
PATIENCE_SECONDS = 120

Command = Callable[..., Run]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a user has: a home, and no setting."""
    return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "PENSTOCK_HOME": str(tmp_path / "home")}


@pytest.fixture
def penstock(environment: dict[str, str]) -> Command:
    """Runs `penstock` as that user does."""

    def run(*arguments: str, stdin: bytes = b"") -> Run:
        command = [str(BIN / "penstock"), *arguments]
        done = subprocess.run(command, check=False, env=environment, input=stdin, capture_output=True, timeout=120)
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@contextmanager
def running(environment: dict[str, str], folder: Path) -> Iterator[Callable[[], str]]:
    """`penstock up` within the block; gives what it has printed so far."""
    log = folder / "up.log"
    with log.open("wb") as written:
        process = subprocess.Popen([BIN / "penstock", "up"], env=environment, stdout=written, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "the scheduler is ready" in log.read_text(), "the scheduler", PATIENCE_SECONDS)
            yield log.read_text
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def test_accounts_need_no_configuration_and_outlive_a_restart(
    environment: dict[str, str], penstock: Command, tmp_path: Path
) -> None:
    named = ("--name", "n", "--owner", "press", "--reason", "r", "--json")
    with running(environment, tmp_path) as told:
        added = penstock("accounts", "add", "mastodon", "1", *named, stdin=b"a-token")
        assert added.code == 0, added.err
        assert added.json["key_id"] == "home"
        # Without keys a scheduler has no such loop.
        assert "token_refreshes" in told()
    kept = tmp_path / "home" / "secrets" / "token-keys"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    key = kept.read_text()
    assert key.partition(":")[2].strip() not in told()
    with running(environment, tmp_path):
        rotated = penstock("accounts", "rotate-keys", "--reason", "r", "--yes", "--json")
        assert (rotated.json["complete"], rotated.json["changed"]) == (True, 0)
        assert penstock("accounts", "show", added.json["account_id"]).code == 0
    assert kept.read_text() == key
