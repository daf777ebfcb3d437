"""The keys: whether what is stored under them can be read here."""

from collections.abc import Iterator

from penstock.producers.settings import ApiKeySettings
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.workers.accounts.store import load_authorisation
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

# Of each key the account that was sealed with it last.
_ACCOUNTS = """
SELECT DISTINCT ON (key_id) account_id FROM penstock.social_accounts ORDER BY key_id, refreshed_at DESC
"""
_SECRETS = """
SELECT DISTINCT secret_id FROM penstock.api_keys
 WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY secret_id
"""


def check_token_keys(target: Target) -> Iterator[Result]:
    """Whether an account's tokens open, of each key that some are encrypted with.

    Raises:
        PenstockError: `CONFIG_INVALID`, `ACCOUNT_TOKEN_UNREADABLE`, or of the family `STORAGE_`.
    """
    name, setting = "token_keys", target.settings.token_keys
    keys = TokenKeys.from_setting(setting) if setting else None
    with target.database() as connection:
        accounts = [row[0] for row in connection.execute(_ACCOUNTS)]
        if keys is None:
            yield _without(name, has_accounts=bool(accounts))
            return
        for account_id in accounts:
            load_authorisation(connection, keys, account_id)
    tried = f"{len(accounts)} account(s) tried, one of each key" if accounts else "no account is there to try"
    yield Result.ok(name, f"{keys.current} encrypts; {tried}")


def _without(name: str, *, has_accounts: bool) -> Result:
    if not has_accounts:
        return Result.skipped(name, "PENSTOCK_TOKEN_KEYS is not set, and there is no account")
    remedy = "Give PENSTOCK_TOKEN_KEYS as workers and schedulers have it (docs/posts.md)."
    return Result.warn(name, "PENSTOCK_TOKEN_KEYS is not set here, so no account's tokens could be tried", remedy)


def check_api_keys(target: Target) -> Iterator[Result]:
    """Whether every API key that is in force can be checked by this secret.

    Raises:
        PenstockError: `CONFIG_INVALID`, or of the family `STORAGE_`.
    """
    name, setting = "api_keys", ApiKeySettings.from_environment(target.environ).api_key_secret
    if not setting:
        yield Result.skipped(name, "PENSTOCK_API_KEY_SECRET is not set here; gateways have it")
        return
    secrets = KeySecrets.from_setting(setting)
    with target.database() as connection:
        used = [str(row[0]) for row in connection.execute(_SECRETS)]
    unknown = [secret_id for secret_id in used if not secrets.knows(secret_id)]
    if unknown:
        told = f"keys in force were made with {', '.join(unknown)}, which PENSTOCK_API_KEY_SECRET lacks"
        yield Result.fail(name, told, "Add that secret behind the current one, or make those keys anew (docs/keys.md).")
        return
    yield Result.ok(name, f"{secrets.current} digests new keys; all in force can be checked")
