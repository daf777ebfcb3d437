"""`penstock keys`: made, listed, rotated and revoked as an operator does it, and what of that is recorded."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.producers.gateway.keys import Principal, open_key_check
from penstock.producers.settings import ApiKeySettings
from penstock.schemas.errors import PenstockError
from tests.system import Database, Penstock, Run

SECRET = "k1:" + "s" * 32
KEY = re.compile(r"pk_([A-Za-z0-9]{12})_[A-Za-z0-9]{43}")
MAKE = ("keys", "create", "--tenant", "acme", "--name", "web shop", "--scope", "submissions:write")


@pytest.fixture(scope="module")
def keys(penstock: Penstock) -> Penstock:
    """Runs `penstock` with the secret of digests."""

    def run(*arguments: str, env: dict[str, str | None] | None = None, stdin: bytes | None = None) -> Run:
        return penstock(*arguments, env={"PENSTOCK_API_KEY_SECRET": SECRET} | (env or {}), stdin=stdin)

    return run


def made(keys: Penstock, *arguments: str) -> dict[str, Any]:
    run = keys(*MAKE, *arguments, "--json")
    assert (run.code, run.err) == (0, "")
    found: dict[str, Any] = run.json
    return found


def check(database: Database, text: str, secret: str = SECRET) -> Principal | str:
    """Whom a gateway sees, or the code that it refuses with."""

    async def main() -> Principal:
        found = open_key_check(database.url, ApiKeySettings.from_environment({"PENSTOCK_API_KEY_SECRET": secret}))
        assert found is not None
        async with found:
            return await found.check(f"Bearer {text}")

    try:
        return asyncio.run(main())
    except PenstockError as error:
        return str(error.code)


def audited(database: Database, key_id: str) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT action, reason, details, actor FROM penstock.operator_actions WHERE target = %s ORDER BY at", key_id
    )


def listed(keys: Penstock, *arguments: str) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in keys("keys", "list", "--json", *arguments).json["items"]}


def test_a_key_is_printed_once_and_stored_nowhere(keys: Penstock, database: Database) -> None:
    run = keys(*MAKE, "--scope", "status:read", env={"PENSTOCK_LOG_LEVEL": "debug"})
    assert (run.code, run.err) == (0, "")
    first, *others = run.out.splitlines()
    assert KEY.fullmatch(first)
    assert "may: status:read, submissions:write" in others[0]
    assert KEY.search("\n".join(others)) is None
    who = check(database, first)
    assert isinstance(who, Principal)
    assert (who.tenant, set(who.scopes)) == ("acme", {"submissions:write", "status:read"})
    secret = first[-43:]
    for table in ("api_keys", "operator_actions"):
        assert database.value(f"SELECT count(*) FROM penstock.{table} t WHERE t::text LIKE %s", f"%{secret}%") == 0
    everything = keys("keys", "list", "--all").out + keys("keys", "list", "--all", "--json").out
    assert secret not in everything
    assert first[3:15] in everything


def test_making_is_recorded_with_whose_it_is(keys: Penstock, database: Database) -> None:
    key = made(keys, "--expires-in", "90d", "--reason", "asked for by the shop")
    ((action, reason, details, actor),) = audited(database, key["id"])
    assert (action, reason, actor) == ("api_key.create", "asked for by the shop", key["created_by"])
    assert (details["tenant"], details["name"], details["scopes"]) == ("acme", "web shop", ["submissions:write"])
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=91)


def test_a_revoked_key_is_refused_and_stays_in_the_list_of_all(keys: Penstock, database: Database) -> None:
    key = made(keys)
    for name, changed in ((key["id"], True), (key["prefix"], False), (f"pk_{key['prefix']}", False)):
        run = keys("keys", "revoke", name, "--reason", "found on a pastebin", "--yes", "--json")
        assert (run.code, run.json["changed"], run.json["state"]) == (0, changed, "revoked")
    assert check(database, key["key"]) == "AUTH_TOKEN_INVALID"
    assert [row[:2] for row in audited(database, key["id"])][1:] == [("api_key.revoke", "found on a pastebin")]
    assert key["id"] not in listed(keys)
    assert listed(keys, "--all")[key["id"]]["revoked_at"] is not None


def test_rotation_replaces_a_key_that_is_good_for_a_while_yet(keys: Penstock, database: Database) -> None:
    old = made(keys, "--expires-in", "90d")
    run = keys("keys", "rotate", old["id"], "--overlap", "7d", "--reason", "yearly", "--yes", "--json")
    assert run.code == 0
    new = run.json
    assert new["key"] != old["key"]
    assert [new[name] for name in ("tenant", "name", "scopes")] == [old[name] for name in ("tenant", "name", "scopes")]
    assert (new["replaces"]["id"], new["replaces"]["replaced_by"]) == (old["id"], new["id"])
    ends_in = datetime.fromisoformat(new["replaces"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6) < ends_in < timedelta(days=8)
    lifetime = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert lifetime == timedelta(days=90)
    assert {isinstance(check(database, key["key"]), Principal) for key in (old, new)} == {True}
    database.query("UPDATE penstock.api_keys SET expires_at = now() WHERE key_id = %s", old["id"])
    assert check(database, old["key"]) == "AUTH_TOKEN_EXPIRED"
    assert audited(database, old["id"])[-1][0] == "api_key.rotate"
    again = keys("keys", "rotate", old["id"], "--reason", "again", "--yes", "--json")
    assert (again.code, again.error["code"]) == (1, "AUTH_KEY_ENDED")


def test_a_key_is_rotated_once(keys: Penstock) -> None:
    old = made(keys)
    new = keys("keys", "rotate", old["id"], "--reason", "x", "--yes", "--json").json
    assert new["expires_at"] is None
    again = keys("keys", "rotate", old["id"], "--reason", "x", "--yes", "--json")
    assert again.error["code"] == "AUTH_KEY_ENDED"
    assert new["id"] in again.error["message"]


def test_the_list_has_pages_newest_first_and_one_tenants_keys(keys: Penstock) -> None:
    ids = [made(keys, "--tenant", "paged")["id"] for _ in range(3)]
    first = keys("keys", "list", "--tenant", "paged", "--limit", "2", "--json").json
    rest = keys("keys", "list", "--tenant", "paged", "--limit", "2", "--after", first["next"], "--json").json
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    wrong = keys("keys", "list", "--after", "x", "--json")
    assert wrong.error["code"] == "REQUEST_FILTER_INVALID"


def test_a_worker_lists_keys_and_can_change_none(keys: Penstock, database: Database) -> None:
    key = made(keys)
    as_worker = {"PENSTOCK_MIGRATION_DATABASE_URL": None}
    assert keys("keys", "list", env=as_worker).code == 0
    for arguments in (MAKE, ("keys", "revoke", key["id"], "--reason", "x", "--yes")):
        run = keys(*arguments, "--json", env=as_worker)
        assert (run.code, run.error["code"]) == (1, "STORAGE_PERMISSION_DENIED")
        assert "PENSTOCK_MIGRATION_DATABASE_URL" in run.error["remedy"]
    assert isinstance(check(database, key["key"]), Principal)


def test_revoking_asks_and_names_the_key(keys: Penstock) -> None:
    key = made(keys)
    no = keys("keys", "revoke", key["id"], "--reason", "x", stdin=b"n\n")
    assert no.code != 0
    assert f"Revoke the key {key['id']} (web shop, tenant acme)?" in no.err
    assert listed(keys)[key["id"]]["state"] == "active"
    yes = keys("keys", "revoke", key["id"], "--reason", "x", stdin=b"y\n")
    assert (yes.code, key["id"] in listed(keys)) == (0, False)


FAULTS = {
    "no secret": (MAKE, {"PENSTOCK_API_KEY_SECRET": None}, "CONFIG_INVALID"),
    "a secret that is none": (MAKE, {"PENSTOCK_API_KEY_SECRET": "hunter2"}, "CONFIG_INVALID"),
    "no scope": (MAKE[:-2], {}, "REQUEST_USAGE"),
    "a scope that stands for several": ((*MAKE, "--scope", "posts:*"), {}, "REQUEST_USAGE"),
    "a name of two lines": ((*MAKE, "--name", "a\nb", "--reason", "x"), {}, "REQUEST_USAGE"),
    "a tenant that is none": ((*MAKE, "--tenant", "a b"), {}, "REQUEST_TENANT_INVALID"),
    "no such key": (("keys", "revoke", "nobody", "--reason", "x", "--yes"), {}, "AUTH_KEY_NOT_FOUND"),
    "no reason": (("keys", "revoke", "nobody", "--yes"), {}, "REQUEST_USAGE"),
}


@pytest.mark.parametrize(("arguments", "env", "code"), FAULTS.values(), ids=FAULTS)
def test_faults_are_told(keys: Penstock, arguments: tuple[str, ...], env: dict[str, str | None], code: str) -> None:
    run = keys(*arguments, "--json", env=env)
    assert (run.error["code"], run.out) == (code, "")
    assert "hunter2" not in run.err


def test_a_key_is_not_named_by_itself_and_not_repeated(keys: Penstock) -> None:
    key = made(keys)["key"]
    for text, code in ((key, "REQUEST_USAGE"), (key[:-1], "AUTH_KEY_NOT_FOUND")):
        run = keys("keys", "revoke", text, "--reason", "x", "--yes", "--json")
        assert run.error["code"] == code
        assert key[-43:-1] not in run.out + run.err
