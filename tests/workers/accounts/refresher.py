"""A process that wants newer tokens of an account: told to begin by a line, it ends when they are there."""

import json
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from uuid import UUID

from penstock.schemas.errors import Code
from penstock.workers.accounts.account import Authorisation
from penstock.workers.accounts.refresh import Refreshed, Refused, Renewed, TokenRefresh, Unanswered
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.store import load_authorisation
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.settings import WorkerSettings


def exchange(authorisation: Authorisation) -> Renewed | Refused | Unanswered:
    """Asks the stand-in endpoint."""
    request = urllib.request.Request(
        os.environ["ENDPOINT"], data=authorisation.tokens.access.get_secret_value().encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            told = json.load(answer)
    except OSError:
        return Unanswered(Code.PLATFORM_API_TIMEOUT)
    ends = datetime.now(UTC) + timedelta(seconds=told["expires_in"])
    return Renewed(Tokens(Secret(told["access_token"])), ends)


def main() -> None:
    settings = WorkerSettings.from_environment()
    account_id = UUID(sys.argv[1])
    keys = TokenKeys.from_setting(settings.token_keys)
    with open_pool(settings, "refresher") as pool:
        refresh = TokenRefresh(Transactions(pool, settings), keys, {"youtube": exchange}, f"pid-{os.getpid()}")
        pool.wait(60)
        print("ready", flush=True)
        sys.stdin.readline()
        # All have seen the first version, and were refused with it.
        while not isinstance(answer := refresh.refresh(account_id, seen=1), Refreshed):
            time.sleep(0.05)
        with pool.connection() as connection:
            authorisation = load_authorisation(connection, keys, account_id)
        print(
            json.dumps({"version": answer.version, "token": authorisation.tokens.access.get_secret_value()}), flush=True
        )


if __name__ == "__main__":
    main()
