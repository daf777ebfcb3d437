"""Wrong keys: what they cost, and that nothing of it tells whether a prefix is known."""

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from penstock.producers.gateway.key_lookups import KeyLookups
from penstock.producers.gateway.keys import REFUSED_TRUST
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.producers.storage.api_keys import StoredKey
from penstock.schemas.api_key import ApiKey
from penstock.schemas.errors import Code, PenstockError
from tests.producers.gateway.key_kit import CountingReader, Desk, Replica, bearer, run
from tests.system import Database


@pytest.fixture(scope="module")
def desk(database: Database) -> Desk:
    return Desk(database)


async def refused(replica: Replica, header: str | None) -> PenstockError:
    with pytest.raises(PenstockError) as error:
        await replica.check.check(header)
    return error.value


def test_a_flood_of_wrong_keys_is_a_query_at_a_time(desk: Desk) -> None:
    made = desk.make()
    wrong = [bearer(ApiKey.make()) for _ in range(2_000)] + [made.wrong_header for _ in range(1_000)]

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            errors, _ = await asyncio.gather(
                asyncio.gather(*(refused(replica, header) for header in wrong)), replica.check.check(made.header)
            )
            assert {error.code for error in errors} == {Code.AUTH_TOKEN_INVALID}
            # A thousand prefixes at the most, and a thousand requests of one prefix are one.
            assert len(replica.reader.reads) <= 5
            for _ in range(100):
                await refused(replica, wrong[0])
            assert len(replica.reader.reads) <= 5
            replica.clock.now += REFUSED_TRUST.total_seconds()
            reads = len(replica.reader.reads)
            await refused(replica, wrong[0])
            assert len(replica.reader.reads) == reads + 1

    run(work)


def test_lookups_that_come_while_one_runs_share_the_next_and_take_none_that_began_before_them() -> None:
    nobody = StoredKey(UUID(int=0), "", [], "", bytes(32), revoked=False, expires_in=None)
    goes_on = asyncio.Event()
    reads: list[list[str]] = []

    async def read(prefixes: Sequence[str]) -> dict[str, StoredKey]:
        reads.append(list(prefixes))
        await goes_on.wait()
        return dict.fromkeys(prefixes, nobody)

    async def work() -> None:
        lookups = KeyLookups(read)
        callers = [asyncio.create_task(lookups.find("first"))]
        while not reads:
            await asyncio.sleep(0)
        for prefix in ("first", "second", "third"):
            callers.append(asyncio.create_task(lookups.find(prefix)))
            await asyncio.sleep(0)
        goes_on.set()
        found = await asyncio.gather(*callers)
        assert reads == [["first"], ["first", "second", "third"]]
        assert found[0].asked_at < found[1].asked_at == found[3].asked_at
        await lookups.close()

    run(work)


def noting(monkeypatch: pytest.MonkeyPatch, seen: list[str], owner: Any, name: str) -> None:
    """Note each call of a function."""
    real = getattr(owner, name)

    def noted(*arguments: Any) -> Any:
        seen.append(name)
        return real(*arguments)

    monkeypatch.setattr(owner, name, noted)


def test_a_wrong_key_costs_the_same_operations_whether_its_prefix_is_known_or_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, old = desk.make(), desk.make(secret="k0:" + "z" * 32)
    seen: list[str] = []
    for owner, name in ((KeySecrets, "digests"), (KeySecrets, "match"), (hmac, "new"), (hmac, "compare_digest")):
        noting(monkeypatch, seen, owner, name)
    noting(monkeypatch, seen, CountingReader, "read")

    async def trace(replica: Replica, header: str) -> list[str]:
        seen.clear()
        error = await refused(replica, header)
        assert error.code is Code.AUTH_TOKEN_INVALID
        return list(seen)

    async def work() -> None:
        async with Replica(desk.database.url) as replica:
            # The key itself is remembered, which must not help either.
            await replica.check.check(made.header)
            await refused(replica, bearer(ApiKey.make()))
            unknown = await trace(replica, bearer(ApiKey.make()))
            assert await trace(replica, made.wrong_header) == unknown
            # Nor does a prefix of which the secret is gone.
            assert await trace(replica, old.header) == unknown
            assert sorted(unknown) == ["compare_digest", "digests", "match", "new", "read"]

    run(work)
