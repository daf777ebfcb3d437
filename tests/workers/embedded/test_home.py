import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.accounts.token_keys import TokenKeys, generate_key
from penstock.workers.embedded.home import Home, Servers, read_servers
from penstock.workers.embedded.token_keys import token_keys_of, with_token_keys
from tests.workers.embedded.processes import Script

HOLD = """
import signal, sys
from pathlib import Path
from penstock.workers.embedded.home import Home
with Home(Path(sys.argv[1])):
    print("locked")
    signal.pause()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_a_second_user_of_the_home_is_refused_until_the_first_is_killed(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    holder = run(HOLD, tmp_path)
    holder.wait_for("locked")
    with pytest.raises(PenstockError, match=f"in use by another `penstock up`.*{holder.process.pid}") as refusal:
        Home(tmp_path).lock()
    assert refusal.value.code is Code.CONFIG_INVALID
    assert "PENSTOCK_HOME" in refusal.value.remedy
    holder.close()
    with Home(tmp_path) as home:
        assert home.path == tmp_path


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    mode = tmp_path.stat().st_mode
    with pytest.raises(PenstockError, match="no home of Penstock"):
        Home(tmp_path).lock()
    assert tmp_path.stat().st_mode == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@as_root
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(PenstockError, match="belongs to user id 65534"):
        Home(tmp_path).lock()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PenstockError, match="can't be used") as refusal:
        Home(tmp_path / "file").lock()
    assert refusal.value.code is Code.CONFIG_INVALID


def test_secrets_are_made_once_and_closed(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        first = home.secret("one")
        assert len(first) >= 32
        assert home.secret("one") == first != home.secret("two")
        assert (tmp_path / "secrets" / "one").stat().st_mode & 0o777 == 0o600


def test_running_servers_are_found_and_stale_notes_are_not_believed(tmp_path: Path) -> None:
    assert read_servers(tmp_path) is None
    with Home(tmp_path) as home, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"postgresql://x:secret@127.0.0.1:{port}/penstock"
        servers = Servers(url, url, None, os.getpid())
        home.note_servers(servers)
        assert home.servers_file.stat().st_mode & 0o777 == 0o600
        assert read_servers(tmp_path) == servers
        assert "secret" not in repr(servers)
        home.note_servers(Servers(url, url, None, 2**22 + 1))
        assert read_servers(tmp_path) is None
        home.note_servers(servers)
    assert read_servers(tmp_path) is None, "the server's port is closed now"
    home.servers_file.write_text('{"database_url":')
    assert read_servers(tmp_path) is None
    home.forget_servers()
    assert not home.servers_file.exists()


def test_token_keys_are_made_once_closed_and_given_to_processes(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        assert token_keys_of(home, {}) == {}
        named = with_token_keys(home, {"A": "b"}, generate_key)
        assert named == {"A": "b", "PENSTOCK_TOKEN_KEYS_FILE": str(home.token_keys_file)}
        first = home.token_keys_file.read_text()
        assert home.token_keys_file.stat().st_mode & 0o777 == 0o600
        assert with_token_keys(home, {"A": "b"}, generate_key) == named
        assert home.token_keys_file.read_text() == first
        assert TokenKeys.from_setting(first).current == "home"


@pytest.mark.parametrize("variable", ["PENSTOCK_TOKEN_KEYS", "PENSTOCK_TOKEN_KEYS_FILE"])
def test_keys_of_ones_own_are_left_and_none_are_made(tmp_path: Path, variable: str) -> None:
    with Home(tmp_path) as home:
        assert with_token_keys(home, {variable: "mine"}, generate_key) == {variable: "mine"}
        assert not home.token_keys_file.exists()
        home.ensure_token_keys(lambda: "home:x")
        assert token_keys_of(home, {variable: "mine"}) == {}
