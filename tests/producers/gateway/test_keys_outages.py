"""Keys that are revoked while many gateways run, and keys while PostgreSQL is away: cut off, frozen, and back."""

import asyncio
import json
import logging
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.producers.gateway.keys import READ_AGAIN_EVERY, KeyCheck
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.producers.storage.api_keys import ApiKeyReader
from penstock.schemas.api_key import ApiKey
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from tests.producers.gateway.key_kit import GRACE, SECRET, Desk, Replica, Way, bearer, run
from tests.system import Database

REPLICA = Path(__file__).parent / "key_replica.py"
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def desk(database: Database) -> Desk:
    return Desk(database)


async def until(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, f"still waiting for: {what}"
        await asyncio.sleep(0.02)


def test_a_revoked_key_is_refused_by_every_process_within_two_seconds(desk: Desk, environment: dict[str, str]) -> None:
    made = desk.make()
    replicas = [
        subprocess.Popen(
            [sys.executable, str(REPLICA), desk.database.url, how],
            env=environment | {"PENSTOCK_API_KEY_SECRET": SECRET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # `alone` has no upkeep: what holds the two seconds is that nothing is believed for longer.
        for how in ("upkeep", "upkeep", "alone")
    ]
    try:
        for replica in replicas:
            assert replica.stdin is not None
            replica.stdin.write(made.header + "\n")
            replica.stdin.flush()
        for replica in replicas:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "ready\n"
        desk.revoke(made)
        revoked_at = time.monotonic()
        told = [json.loads(replica.communicate(timeout=PATIENCE_SECONDS)[0]) for replica in replicas]
    finally:
        for replica in replicas:
            replica.kill()
            replica.communicate()
    assert [found["code"] for found in told] == ["AUTH_TOKEN_INVALID"] * 3
    assert all(found["good"] > 0 for found in told)
    # This holds on a slow machine too: what is believed has an end that no process can be late for.
    assert max(found["last_good"] for found in told) < revoked_at + 2


def test_known_keys_are_good_for_a_while_without_postgresql_and_unknown_ones_get_unavailable(desk: Desk) -> None:
    known, unknown = desk.make(), desk.make()

    async def work() -> None:
        with Way(desk.database.url) as way:
            async with Replica(way.url) as replica:
                await replica.check.check(known.header)
                way.cut()
                with pytest.raises(UnavailableError, match="STORAGE_UNAVAILABLE"):
                    await replica.check.check(unknown.header)
                replica.clock.now += GRACE.total_seconds() - 1
                assert (await replica.check.check(known.header)).tenant == "acme"
                assert replica.seen[-1] == "stale"
                replica.clock.now += 1
                with pytest.raises(UnavailableError):
                    await replica.check.check(known.header)

    run(work)


def test_without_grace_no_key_outlives_its_trust(desk: Desk) -> None:
    made = desk.make()

    async def work() -> None:
        with Way(desk.database.url) as way:
            async with Replica(way.url, grace=timedelta()) as replica:
                await replica.check.check(made.header)
                way.cut()
                replica.clock.now += 2
                with pytest.raises(UnavailableError):
                    await replica.check.check(made.header)

    run(work)


def test_what_was_revoked_meanwhile_is_refused_soon_after_postgresql_is_back(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    revoked, kept = desk.make(), desk.make()

    async def is_refused(check: KeyCheck) -> bool:
        try:
            await check.check(revoked.header)
        except PenstockError as error:
            return error.code is Code.AUTH_TOKEN_INVALID
        return False

    async def work() -> None:
        with Way(desk.database.url) as way, caplog.at_level(logging.INFO):
            reader = ApiKeyReader(way.url)
            async with KeyCheck(reader, KeySecrets.from_setting(SECRET), GRACE) as check:
                for made in (revoked, kept):
                    await check.check(made.header)
                way.cut()
                await until(lambda: reader.is_away, "the outage to be noticed")
                desk.revoke(revoked)
                assert not await is_refused(check)
                way.mend()
                ends_at = time.monotonic() + PATIENCE_SECONDS
                while not await is_refused(check):
                    assert time.monotonic() < ends_at
                    await asyncio.sleep(READ_AGAIN_EVERY.total_seconds() / 10)
                assert (await check.check(kept.header)).tenant == "acme"
                await until(lambda: "can be looked up again" in caplog.text, "word of it")

    run(work)
    assert caplog.text.count("known keys are good for 0:15:00") == 1


def test_a_server_that_stands_still_holds_nobody_up(desk: Desk) -> None:
    known, unknown = desk.make(), desk.make()

    async def work() -> None:
        with Way(desk.database.url) as way:
            async with Replica(way.url) as replica:
                await replica.check.check(known.header)
                way.freeze()
                with pytest.raises(UnavailableError):
                    await replica.check.check(unknown.header)
                await until(lambda: replica.reader.is_away, "the server to be given up")
                replica.clock.now += 60
                reads = len(replica.reader.reads)
                for _ in range(100):
                    await replica.check.check(known.header)
                assert len(replica.reader.reads) == reads
                # Those who can't be told wait for one query together, and not for one each.
                got = await asyncio.gather(
                    *(replica.check.check(bearer(ApiKey.make())) for _ in range(100)), return_exceptions=True
                )
                assert {type(error) for error in got} == {UnavailableError}
                assert len(replica.reader.reads) <= reads + 2
                way.mend()
                await until(lambda: not any("key" in task.get_name() for task in asyncio.all_tasks()), "no task's left")

    run(work)


def test_no_key_stands_in_logs_or_tracebacks(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    good, revoked, unknown = desk.make(), desk.make(), ApiKey.make()
    desk.revoke(revoked)
    headers = [good.header, revoked.header, bearer(unknown), good.wrong_header, bearer(unknown) + "x"]
    told: list[str] = []

    async def work() -> None:
        with Way(desk.database.url) as way, caplog.at_level(logging.DEBUG):
            async with Replica(way.url) as replica:
                for cut in (False, True):
                    if cut:
                        way.cut()
                        replica.clock.now += 3_600
                    for header in headers:
                        try:
                            told.append(repr(await replica.check.check(header)))
                        except PenstockError as error:
                            told.append(f"{error.as_dict()} {''.join(traceback.format_exception(error))}")
                told.append(repr([replica.check._known.items(), replica.reader, good, replica.check]))

    run(work)
    assert len(told) == 11
    everything = caplog.text + "".join(told)
    for header in headers:
        # Its last 43 characters are the secret.
        assert header.rstrip("x")[-43:] not in everything
