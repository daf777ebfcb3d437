"""Keys at the gateway's door: who is let in, what is remembered, and what PostgreSQL is asked."""

import asyncio
from datetime import timedelta

import pytest

from penstock.producers.gateway.key_cache import Recent
from penstock.producers.gateway.keys import TRUST, KeyCheck, Principal, open_key_check
from penstock.producers.settings import ApiKeySettings
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.schemas.api_key import ApiKey, Scope
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from tests.producers.gateway.key_kit import GRACE, SECRET, CountingReader, Desk, Replica, bearer, run
from tests.system import Database


@pytest.fixture(scope="module")
def desk(database: Database) -> Desk:
    return Desk(database)


async def refused(replica: Replica, header: str | None) -> PenstockError:
    with pytest.raises(PenstockError) as error:
        await replica.check.check(header)
    return error.value


def test_a_key_tells_its_tenant_and_what_it_may_do(desk: Desk) -> None:
    made = desk.make(tenant="globex", scopes=[Scope.POSTS_WRITE, Scope.STATUS_READ])

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            who = await replica.check.check(made.header)
            assert (who.key_id, who.tenant) == (made.summary.key_id, "globex")
            who.require(Scope.POSTS_WRITE)
            who.require(Scope.STATUS_READ)
            with pytest.raises(PenstockError, match=r"AUTH_SCOPE_MISSING.*submissions:write") as missing:
                who.require(Scope.SUBMISSIONS_WRITE)
            assert missing.value.details == {"scope": "submissions:write"}

    run(work)


HEADERS = {
    "no header": (None, Code.AUTH_REQUIRED),
    "nothing": ("", Code.AUTH_REQUIRED),
    "another scheme": ("Basic {key}", Code.AUTH_TOKEN_INVALID),
    "no scheme": ("{key}", Code.AUTH_TOKEN_INVALID),
    "no key": ("Bearer", Code.AUTH_TOKEN_INVALID),
    "an empty key": ("Bearer ", Code.AUTH_TOKEN_INVALID),
    "two keys": ("Bearer {key} {key}", Code.AUTH_TOKEN_INVALID),
    "a key and more": ("Bearer {key}x", Code.AUTH_TOKEN_INVALID),
    "bytes": ("Bearer \xff\x00", Code.AUTH_TOKEN_INVALID),
}


@pytest.mark.parametrize(("header", "code"), HEADERS.values(), ids=HEADERS)
def test_what_is_no_key_is_refused_and_costs_no_query(desk: Desk, header: str | None, code: Code) -> None:
    made = desk.make()

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            error = await refused(replica, header and header.format(key=made.key.text))
            assert error.code is code
            assert made.key.text not in f"{error.as_dict()}"
            assert replica.reader.reads == []

    run(work)


def test_the_scheme_is_read_as_rfc_9110_says(desk: Desk) -> None:
    made = desk.make()

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            for header in (f"bearer {made.key.text}", f"BEARER   {made.key.text} "):
                assert (await replica.check.check(header)).tenant == "acme"

    run(work)


def test_on_loopback_without_keys_everything_is_allowed_for_one_tenant() -> None:
    who = Principal.without_key("acme")
    assert (who.key_id, who.tenant) == (None, "acme")
    for scope in Scope:
        who.require(scope)


def test_expired_and_revoked_keys_are_told_to_their_holders_alone(desk: Desk) -> None:
    expired, revoked = desk.make(expires_in=timedelta(microseconds=1)), desk.make()
    desk.revoke(revoked)

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            assert (await refused(replica, expired.header)).code is Code.AUTH_TOKEN_EXPIRED
            assert "was revoked" in (await refused(replica, revoked.header)).message
            tried = [await refused(replica, made.wrong_header) for made in (expired, revoked, desk.make())]
            tried.append(await refused(replica, bearer(ApiKey.make())))
            assert {str(error) for error in tried} == {"AUTH_TOKEN_INVALID: the API key is none of ours"}

    run(work)


def test_a_key_expires_while_it_is_remembered(desk: Desk) -> None:
    made = desk.make(expires_in=timedelta(hours=1))

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            await replica.check.check(made.header)
            ((_, known),) = replica.check._known.items()
            left = known.key.expires_in
            assert left is not None
            assert timedelta(minutes=59) < left <= timedelta(hours=1)
            assert not known.is_expired(known.read_at + left.total_seconds() - 1)
            assert known.is_expired(known.read_at + left.total_seconds())

    run(work)


def test_a_known_key_is_looked_up_once_for_as_long_as_it_is_trusted(desk: Desk) -> None:
    made = desk.make()

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            await asyncio.gather(*(replica.check.check(made.header) for _ in range(200)))
            for _ in range(200):
                await replica.check.check(made.header)
            assert replica.reader.reads == [[made.key.prefix]]
            replica.clock.now += TRUST.total_seconds()
            await replica.check.check(made.header)
            assert len(replica.reader.reads) == 2
            assert replica.seen.count("hit") == 200

    run(work)


def test_upkeep_reads_keys_in_use_in_one_query_and_others_not_at_all(desk: Desk) -> None:
    used, idle = [desk.make() for _ in range(5)], desk.make()

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            await replica.check.check(idle.header)
            replica.clock.now += 60
            for made in used:
                await replica.check.check(made.header)
            before = len(replica.reader.reads)
            replica.clock.now += TRUST.total_seconds() * 0.9
            await replica.check.read_again()
            replica.clock.now += TRUST.total_seconds() * 0.9
            for made in used:
                await replica.check.check(made.header)
            (again,) = replica.reader.reads[before:]
            assert sorted(again) == sorted(made.key.prefix for made in used)

    run(work)


def test_a_key_whose_row_is_gone_or_changed_is_forgotten(desk: Desk) -> None:
    gone, changed = desk.make(), desk.make()

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            for made in (gone, changed):
                await replica.check.check(made.header)
            table = "penstock.api_keys"
            desk.database.query(f"DELETE FROM {table} WHERE key_id = %s", gone.summary.key_id)
            desk.database.query(f"UPDATE {table} SET digest = sha256('') WHERE key_id = %s", changed.summary.key_id)
            await replica.check.read_again()
            for made in (gone, changed):
                assert (await refused(replica, made.header)).message == "the API key is none of ours"

    run(work)


def test_keys_in_use_are_read_again_without_being_asked_for(desk: Desk) -> None:
    made = desk.make()

    async def work() -> None:
        reader = CountingReader(desk.database.url)
        async with KeyCheck(reader, KeySecrets.from_setting(SECRET), GRACE) as check:
            await check.check(made.header)
            while len(reader.reads) < 3:
                await asyncio.sleep(0.02)
            assert reader.reads == [[made.key.prefix]] * len(reader.reads)

    run(work)


def test_what_is_remembered_is_bounded() -> None:
    recent: Recent[int, int] = Recent(3)
    for number in range(3):
        recent.put(number, number)
    assert recent.get(0) == 0
    recent.put(3, 3)
    assert [key for key, _ in recent.items()] == [2, 0, 3]


def test_keys_of_an_older_secret_are_good_until_it_is_removed(desk: Desk) -> None:
    old, new = "k1:" + "o" * 32, "k2:" + "n" * 32
    of_old, of_new = desk.make(secret=old), desk.make(secret=f"{new},{old}")

    async def work() -> None:
        async with Replica(desk.database.url, secret=f"{new},{old}") as replica:
            for made in (of_old, of_new):
                assert (await replica.check.check(made.header)).key_id == made.summary.key_id
        async with Replica(desk.database.url, secret=new) as replica:
            await replica.check.check(of_new.header)
            assert (await refused(replica, of_old.header)).code is Code.AUTH_TOKEN_INVALID

    run(work)


def test_uses_are_written_once_a_minute_by_all_gateways_together(desk: Desk) -> None:
    made, unused = desk.make(), desk.make()

    async def use(replica: Replica) -> None:
        for _ in range(50):
            await replica.check.check(made.header)
        await replica.check.write_uses()

    async def work() -> None:
        async with Replica(desk.database.url) as first, Replica(desk.database.url) as second:
            await use(first)
            at = desk.last_used(made)
            assert at is not None
            await use(first)
            assert len(first.reader.uses) == 1
            # The other one can't know, and PostgreSQL does.
            await use(second)
            assert desk.last_used(made) == at
            desk.database.query("UPDATE penstock.api_keys SET last_used_at = last_used_at - interval '61 s'")
            first.clock.now += 61
            await use(first)
            assert desk.last_used(made) >= at
        assert desk.last_used(unused) is None

    run(work)


def test_a_use_is_written_when_the_gateway_stops(desk: Desk) -> None:
    made = desk.make()

    async def work() -> None:
        check = open_key_check(desk.database.url, ApiKeySettings.from_environment({"PENSTOCK_API_KEY_SECRET": SECRET}))
        assert check is not None
        async with check:
            await check.check(made.header)

    run(work)
    assert desk.last_used(made) is not None


def test_without_a_secret_there_are_no_keys_and_a_wrong_one_is_told() -> None:
    assert open_key_check("postgresql://x", ApiKeySettings.from_environment({})) is None
    with pytest.raises(InvalidInputError, match="PENSTOCK_API_KEY_SECRET"):
        open_key_check("postgresql://x", ApiKeySettings.from_environment({"PENSTOCK_API_KEY_SECRET": "short"}))
