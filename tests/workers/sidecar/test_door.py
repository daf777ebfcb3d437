"""The parts of the door: credentials, sessions, the throttle, and what they take for an address."""

from datetime import timedelta
from pathlib import Path

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.sidecar.access.credentials import Credentials, make_credential, parse_credentials
from penstock.workers.sidecar.access.gatekeeper import is_loopback
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.access.routes import local_path
from penstock.workers.sidecar.access.sessions import LIFETIME, Sessions
from penstock.workers.sidecar.access.throttle import LONGEST_WAIT_SECONDS, LogInThrottle
from tests.workers.sidecar.sidecar_kit import credentials

LINES, TOKENS = credentials(ada="admin")


def test_a_credential_as_it_is_made_is_read_again_and_its_token_stands_nowhere() -> None:
    made, token = make_credential("ana", Role.OPERATOR)
    assert parse_credentials(f"# people\n\n{made.line}\n") == {"ana": made}
    assert token not in made.line
    assert made.digest not in repr(made)
    assert len(token) > 43


@pytest.mark.parametrize(
    "line",
    ["ana", "ana:admin", "ana:owner:" + "0" * 64, "ana:admin:" + "0" * 63, "a b:admin:" + "0" * 64,
     "loopback:admin:" + "0" * 64],
    ids=["name alone", "no hash", "no such role", "short hash", "bad name", "loopback's name"],
)  # fmt: skip
def test_a_line_that_is_none_is_told_by_its_number_alone(line: str) -> None:
    good, _ = make_credential("good", Role.VIEWER)
    with pytest.raises(PenstockError, match="line 2 of PENSTOCK_SIDECAR_CREDENTIALS") as refusal:
        parse_credentials(f"{good.line}\n{line}")
    assert refusal.value.code is Code.CONFIG_INVALID
    assert "0000" not in refusal.value.message


def test_a_credential_that_is_taken_out_of_its_file_ends_and_an_emptied_file_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(LINES)
    known = Credentials(LINES, file.read_text)
    assert known.check("ada", TOKENS["ada"]) is not None
    file.write_text("")
    known._looked_at -= 10
    assert known.check("ada", TOKENS["ada"]) is None
    assert known.any


def test_a_session_is_over_after_its_time_and_where_it_was_changed() -> None:
    now = 1_000_000.0
    sessions = Sessions("k" * 32, lambda: now)
    session = sessions.begin("ada", "mark")
    value = sessions.encode(session)
    assert sessions.decode(value) == session
    body, _, signature = value.partition(".")
    other_end = "1" if signature.endswith("0") else "0"
    of_another_key = Sessions("other" * 8).encode(session)
    changed = [f"{body}x.{signature}", f"{body}.{signature[:-1]}{other_end}", body, f".{signature}", "", "é.é"]
    assert [sessions.decode(each) for each in (*changed, of_another_key)] == [None] * 7
    now += LIFETIME.total_seconds()
    assert sessions.decode(value) is None


def test_waits_double_up_to_a_limit_and_a_success_ends_them() -> None:
    now = 0.0
    throttle = LogInThrottle(lambda: now)
    waits = []
    for _ in range(14):
        throttle.failed("ada", "203.0.113.9")
        waits.append(throttle.wait_seconds("x", "203.0.113.9"))
        now += waits[-1]
    assert waits[:6] == [0, 0, 1, 2, 4, 8]
    assert waits[-1] == LONGEST_WAIT_SECONDS
    # The name waits a little for everybody, but not where it has logged in before.
    throttle.failed("ada", "203.0.113.9")
    assert 0 < throttle.wait_seconds("ada", "198.51.100.7") <= 2
    throttle.succeeded("ada", "198.51.100.7")
    assert throttle.wait_seconds("ada", "198.51.100.7") == 0
    # A host has a whole /64.
    for last in range(4):
        throttle.failed("y", f"2001:db8::{last}")
    assert throttle.wait_seconds("z", "2001:db8::ffff") > 0
    assert throttle.wait_seconds("z", "2001:db8:0:1::1") == 0


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/queues?x=1", "/queues?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("", "/"),
    ],
    ids=["ours", "two slashes", "backslash", "address", "line break", "empty"],
)
def test_a_log_in_leads_to_no_other_site(given: str, path: str) -> None:
    assert local_path(given) == path


@pytest.mark.parametrize(
    ("address", "found"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(address: str, found: bool) -> None:
    assert is_loopback(address) is found


def test_a_session_lasts_twelve_hours() -> None:
    assert timedelta(hours=12) == LIFETIME
