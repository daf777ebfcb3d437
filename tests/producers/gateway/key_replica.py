"""A gateway's check of one key in a process of its own, until the key is refused.

Arguments: the database's URL, and `upkeep` or `alone`. Standard input: the header. It prints `ready` when the key was
taken once, and at the end a JSON object with monotonic seconds, which all processes of a machine share: when the last
good check began, and how many were good after `ready`.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

from penstock.producers.gateway.keys import open_key_check
from penstock.producers.settings import ApiKeySettings
from penstock.schemas.errors import PenstockError


async def watch(url: str, header: str, *, upkeep: bool) -> None:
    check = open_key_check(url, ApiKeySettings.from_environment())
    assert check is not None
    async with AsyncExitStack() as stack:
        if upkeep:
            await stack.enter_async_context(check)
        await check.check(header)
        print("ready", flush=True)
        last_good, good = time.monotonic(), 0
        while True:
            began = time.monotonic()
            try:
                await check.check(header)
            except PenstockError as error:
                print(json.dumps({"last_good": last_good, "good": good, "code": str(error.code)}), flush=True)
                return
            last_good, good = began, good + 1
            await asyncio.sleep(0.005)


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], sys.stdin.readline().strip(), upkeep=sys.argv[2] == "upkeep"))
