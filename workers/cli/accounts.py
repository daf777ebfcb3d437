"""`penstock accounts`: the accounts that posts go out by, and the keys of their tokens."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from penstock.producers.storage.posts_parked import count_parked
from penstock.schemas.errors import Code, NotFoundError, PenstockError, UnavailableError
from penstock.workers.accounts.account import Account, AccountState
from penstock.workers.accounts.administration import AccountAdministration, ChangedAccount
from penstock.workers.accounts.rotation import Rotated
from penstock.workers.accounts.store import find_account, list_accounts
from penstock.workers.accounts.token_keys import TokenKeys, generate_key
from penstock.workers.cli.account_tokens import add, reauthorize
from penstock.workers.cli.dead_tell import printable
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, emit_list, json_option
from penstock.workers.cli.transactions import Store, open_store

_COLUMNS = ("id", "platform", "external_id", "name", "owner", "state", "token ends")

id_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "account_id", metavar="ID", type=click.UUID
)


@click.group(epilog="Example: penstock accounts list --state reauthorize")
def accounts() -> None:
    """Accounts on platforms: whose posts go out by them, and whether their tokens work."""


for _command in (add, reauthorize):
    accounts.add_command(_command)


@accounts.command("list", epilog="Example: penstock accounts list --platform instagram --json")
@click.option("--platform", help="Only of this platform.")
@click.option("--owner", help="Only of this owner.")
@click.option("--state", type=click.Choice([str(one) for one in AccountState]), help="Only in this state.")
@click.option("--after", type=click.UUID, help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@tenant_option
@json_option
def list_(limit: int, tenant: str | None, as_json: bool, state: str | None, **chosen: Any) -> None:
    """List accounts. Never their tokens."""
    wanted = None if state is None else AccountState(state)
    with open_store(tenant) as store:
        found = store.read(
            lambda connection: list_accounts(connection, store.tenant, limit=limit + 1, state=wanted, **chosen)
        )
    page = found[:limit]
    following = str(page[-1].account_id) if len(found) > limit else None
    emit_list([one.as_dict() if as_json else _row(one) for one in page], following, as_json, _COLUMNS)


def _row(account: Account) -> dict[str, Any]:
    ends = account.token_expires_at
    return {
        "id": account.account_id,
        "platform": account.platform,
        "external_id": printable(account.external_id),
        "name": printable(account.name),
        "owner": account.owner,
        "state": account.state,
        "token ends": None if ends is None else ends.isoformat(timespec="seconds"),
    }


@accounts.command(epilog="Example: penstock accounts show 6f1f0f6e-3c1b-4a52-9d3e-0d5f0a4e7b11")
@id_argument
@tenant_option
@json_option
def show(account_id: UUID, tenant: str | None, as_json: bool) -> None:
    """Show an account: its state and why, when its token ends, how many posts wait for it. Never its tokens."""
    with open_store(tenant) as store:
        account = store.read(lambda connection: find_account(connection, store.tenant, account_id))
        if account is None:
            raise NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {account_id}")
        waiting = store.read(lambda connection: count_parked(connection, account_id))
    emit(account.as_dict() | {"posts_waiting": waiting}, as_json, lambda: _tell(account, waiting))


def _tell(account: Account, waiting: int) -> str:
    why = f" ({account.state_code})" if account.state_code else ""
    refused = f", the last try failed: {account.refresh_code}" if account.refresh_code else ""
    lines = [
        f"{account.account_id}: {account.state}{why} since {account.state_changed_at.isoformat(timespec='seconds')}",
        f"  {account.name} of {account.platform}, {account.external_id} there; owner {account.owner}",
        f"  token of {_moment(account.refreshed_at)}, ends {_moment(account.token_expires_at)}",
        f"  refreshed ahead {_moment(account.refresh_due_at)}{refused}; encrypted with the key {account.key_id}",
        f"  {waiting:,} post(s) wait for it",
    ]
    if account.state == AccountState.REAUTHORIZE:
        lines.append(f"  authorise it anew: penstock accounts reauthorize {account.account_id} --token-file FILE")
    return "\n".join(printable(line) for line in lines)


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else moment.isoformat(timespec="seconds")


@accounts.command(epilog="Example: penstock accounts disable ID --reason 'the campaign is over'")
@id_argument
@reason_option
@yes_option
@tenant_option
@json_option
def disable(account_id: UUID, reason: str, yes: bool, tenant: str | None, as_json: bool) -> None:
    """Take an account out of use; its posts wait until it is enabled."""
    _ask(f"Take the account {account_id} out of use?", yes)
    with open_store(tenant) as store:
        changed = _administration(store).disable((login_name(), reason), store.tenant, account_id)
    _emit_change(changed, as_json, "is disabled; its posts wait", "was disabled before")


@accounts.command(epilog="Example: penstock accounts enable ID --reason 'the campaign goes on'")
@id_argument
@reason_option
@yes_option
@tenant_option
@json_option
def enable(account_id: UUID, reason: str, yes: bool, tenant: str | None, as_json: bool) -> None:
    """Take an account into use again that was disabled; its posts that waited go, in the order of their instants."""
    _ask(f"Take the account {account_id} into use again?", yes)
    with open_store(tenant) as store:
        changed = _administration(store).enable((login_name(), reason), store.tenant, account_id)
    _emit_change(changed, as_json, "is active; its posts go", f"is not disabled but {changed.account.state}")


def _emit_change(changed: ChangedAccount, as_json: bool, told: str, unchanged: str) -> None:
    text = told if changed.changed else f"{unchanged}; nothing changed"
    value = changed.account.as_dict() | {"changed": changed.changed}
    emit(value, as_json, lambda: f"{changed.account.account_id} {text}")


@accounts.command("rotate-keys", epilog="Example: penstock accounts rotate-keys --reason 'the yearly change'")
@reason_option
@yes_option
@json_option
def rotate_keys(reason: str, yes: bool, as_json: bool) -> None:
    """Encrypt all tokens of all tenants with the first key of PENSTOCK_TOKEN_KEYS, while posts go out.

    It can be stopped and run again. Older keys may be removed everywhere once it said that it is complete.
    """
    with open_store(None) as store:
        keys = TokenKeys.from_setting(store.settings.token_keys)
        _ask(f"Encrypt all tokens with the key {keys.current}?", yes)

        def progress(changed: int) -> None:
            if changed and not as_json:
                click.echo(f"{changed:,} account(s) so far", err=True)

        done = _administration(store).rotate_keys((login_name(), reason), keys, progress)
    value = {
        "key": keys.current,
        "changed": done.changed,
        "complete": done.is_complete,
        "unreadable": [str(one) for one in done.unreadable],
    }
    state = "complete" if done.is_complete else "not complete"
    emit(
        value, as_json, lambda: f"{state}: {done.changed:,} account(s) are encrypted anew, with the key {keys.current}"
    )
    _require_complete(done)


def _require_complete(done: Rotated) -> None:
    if done.unreadable:
        told = f"{len(done.unreadable)} account(s) can't be read, such as {done.unreadable[0]}"
        details = {"accounts": [str(one) for one in done.unreadable]}
        raise PenstockError(Code.ACCOUNT_TOKEN_UNREADABLE, told, details=details)
    if done.changed_meanwhile:
        told = f"{done.changed_meanwhile} account(s) got new tokens at that moment"
        raise UnavailableError(Code.STORAGE_CONFLICT, told, remedy="Run the same command again.")


@accounts.command("generate-key", epilog="Example: penstock accounts generate-key > /run/secrets/token-keys")
@click.option("--id", "key_id", help="Names the key; made of the date if absent.")
@json_option
def generate(key_id: str | None, as_json: bool) -> None:
    """Print a new key for PENSTOCK_TOKEN_KEYS, as `id:key`. It is kept nowhere: keep it safe."""
    named = key_id or f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(2)}"
    entry = generate_key(named)
    emit({"id": named, "entry": entry}, as_json, lambda: entry)


def _administration(store: Store) -> AccountAdministration:
    return AccountAdministration(store.transactions)


def _ask(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)
