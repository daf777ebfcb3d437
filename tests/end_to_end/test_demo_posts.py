"""`penstock up --demo` publishes its posts, each once, in one run and in the next one, and shows all in its pages."""

import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from penstock.workers.demo.posts import ACCOUNT, POSTS
from penstock.workers.embedded.home import read_servers
from tests.end_to_end.test_up_sidecar import Start, Up, assert_pages, start, usual_port_taken

__all__ = ["start", "usual_port_taken"]

ROW = re.compile(r"^(\w+) +\d\d:\d\d:\d\d +\d\d:\d\d:\d\d +(\d+\.\d\d) s +(\S+)$")
RECORD = rf"The stand-in's own record: {len(POSTS)} published, none of them twice$"
ANOTHER_ACCOUNT = """
INSERT INTO penstock.social_accounts
       (account_id, tenant, owner, platform, external_id, name, token_ciphertext, key_id)
SELECT gen_random_uuid(), tenant, owner, platform, 'my-own', name, token_ciphertext, key_id
  FROM penstock.social_accounts LIMIT 1
"""
HEADING = r"\d scheduled posts, to a stand-in"


def interrupt(up: Up, by: signal.Signals = signal.SIGINT) -> None:
    """As Ctrl-C does it: all stops, cleanly."""
    up.process.send_signal(by)
    assert up.process.wait(60) == 0, up.text()
    for unwanted in ("Traceback", "STORAGE_UNAVAILABLE", "did not stop in time", "it is started again"):
        assert unwanted not in up.text()


def wait_for_posts(up: Up) -> list[tuple[str, str, str]]:
    """The rows of the table: platform, lateness in seconds, address."""
    up.wait_for_line(RECORD)
    up.wait_for_line("In a browser: ")
    return [(match[1], match[2], match[3]) for line in up.lines if (match := ROW.match(line))]


def record_at(rows: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """What the stand-in says that it published; the addresses of posts tell where it listens."""
    base = next(address for platform, _, address in rows if platform == "facebook").rpartition("/posts/")[0]
    listed: list[dict[str, Any]] = httpx.get(f"{base}/__ctl/publications").json()["items"]
    return listed


def count(home: Path, statement: str) -> Any:
    servers = read_servers(home)
    assert servers is not None
    with psycopg.connect(servers.database_url or "") as connection:
        return connection.execute(statement.encode()).fetchone()


@pytest.mark.usefixtures("usual_port_taken")
def test_posts_go_out_once_the_pages_show_all_and_the_next_run_does_no_harm(start: Start, tmp_path: Path) -> None:
    up = start("--demo")
    rows = wait_for_posts(up)
    assert Counter(platform for platform, _, _ in rows) == Counter(post.platform for post in POSTS)
    # On a busy machine too; usually it is well below half a second.
    assert max(float(seconds) for _, seconds, _ in rows) < 20
    first = record_at(rows)
    assert {one["account"] for one in first} == {ACCOUNT}
    assert len({one["text"] for one in first}) == len(first) == len(POSTS)
    url = assert_pages(up)
    interrupt(up, signal.SIGTERM)
    with pytest.raises(httpx.ConnectError):
        record_at(rows)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}health/live")

    again = start("--demo")
    second = record_at(wait_for_posts(again))
    assert not {one["text"] for one in first} & {one["text"] for one in second}
    assert len(second) == len(POSTS)
    home = tmp_path / "home"
    assert count(home, "SELECT count(*) FROM penstock.social_accounts") == (4,)
    published = "SELECT count(*), count(*) FILTER (WHERE state = 'published') FROM penstock.scheduled_posts"
    assert count(home, published) == (16, 16)
    interrupt(again)


def test_it_can_be_interrupted_and_keeps_away_from_accounts_of_ones_own(start: Start, tmp_path: Path) -> None:
    up = start("--demo")
    up.wait_for_line(HEADING)
    up.wait_for_line(r"worker +\| .*published 1")
    servers = read_servers(tmp_path / "home")
    assert servers is not None
    with psycopg.connect(servers.admin_database_url or "") as connection:
        connection.execute(ANOTHER_ACCOUNT)
    interrupt(up)
    assert "In a browser: " not in up.text()

    # Its posts would be taken for published.
    again = start("--demo")
    assert again.process.wait(120) == 1
    again.wait_for_line("CONFIG_INVALID: the database has 1 account\\(s\\) of your own")
    assert "stand-in |" not in again.text()
