"""`penstock accounts add` and `reauthorize`: tokens come from files or standard input, and are shown nowhere."""

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.accounts.account import Account
from penstock.workers.accounts.administration import AccountAdministration, ChangedAccount, Granted, new_account
from penstock.workers.accounts.renewal import renewal_of
from penstock.workers.accounts.secret import Secret
from penstock.workers.accounts.token_keys import TokenKeys, Tokens
from penstock.workers.cli.dead_tell import printable
from penstock.workers.cli.durations import DURATION
from penstock.workers.cli.operator import login_name, reason_option
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.cli.transactions import open_store

Command = Callable[..., Any]

#: What can stand in a header of HTTP; no platform's token is longer.
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
#: These platforms' access tokens live an hour, or are refreshed by the other one.
_WANTS_REFRESH_TOKEN = {"youtube": "Google's refresh token", "facebook": "the long-lived token of the page's user"}


def _token_options(command: Command) -> Command:
    for option, name, told in (
        ("--refresh-token-file", "refresh_token_file", "The refresh token (YouTube), or the user's token (Facebook)."),
        ("--token-file", "token_file", "The access token; on standard input, or asked for, if absent."),
    ):
        command = click.option(option, name, type=click.Path(path_type=Path), help=told)(command)
    told = "How long the platform says that they live (60d); for ever if absent."
    return click.option("--expires-in", type=DURATION, help=told)(command)


@click.command(epilog="Example: penstock accounts add instagram 178414 --name 'City news' --owner press --reason new")
@click.argument("platform")
@click.argument("external_id")
@click.option("--name", required=True, help="What people call it.")
@click.option("--owner", required=True, help="Whose posts its posts are.")
@_token_options
@reason_option
@tenant_option
@json_option
def add(
    platform: str, external_id: str, name: str, owner: str, reason: str, tenant: str | None, as_json: bool, **given: Any
) -> None:
    """Add the account that PLATFORM knows as EXTERNAL_ID, and keep its tokens encrypted.

    Tokens are never arguments, which other users of the machine could read.
    """
    with open_store(tenant) as store:
        keys = TokenKeys.from_setting(store.settings.token_keys)
        account = new_account(platform, external_id, name, owner)
        administration = AccountAdministration(store.transactions)
        added = administration.add((login_name(), reason), store.tenant, account, keys, _granted(**given))
    notes = _notes(added.account, bool(given["refresh_token_file"]))
    told = f"{added.account.account_id} is the account {printable(name)} of {platform}"
    emit(added.account.as_dict() | {"notes": notes}, as_json, lambda: "\n".join([told, *notes]))


@click.command(
    epilog="Example: penstock accounts reauthorize ID --token-file token --expires-in 60d --reason 'renewed'"
)
@click.argument("account_id", metavar="ID", type=click.UUID)
@_token_options
@reason_option
@tenant_option
@json_option
def reauthorize(account_id: UUID, reason: str, tenant: str | None, as_json: bool, **given: Any) -> None:
    """Give an account new tokens, and let its posts go that waited for them, in the order of their instants.

    The account is active then, whatever it was before.
    """
    with open_store(tenant) as store:
        keys = TokenKeys.from_setting(store.settings.token_keys)
        administration = AccountAdministration(store.transactions)
        who_and_why = login_name(), reason
        changed = administration.reauthorise(who_and_why, store.tenant, account_id, keys, _granted(**given))
    notes = _notes(changed.account, bool(given["refresh_token_file"]))
    value = changed.account.as_dict() | {"released": changed.released, "notes": notes}
    emit(value, as_json, lambda: "\n".join([_tell(changed), *notes]))


def _tell(changed: ChangedAccount) -> str:
    return f"{changed.account.account_id} is active; {changed.released:,} post(s) that waited for it go now"


def _granted(token_file: Path | None, refresh_token_file: Path | None, expires_in: timedelta | None) -> Granted:
    if refresh_token_file is not None and str(refresh_token_file) == "-":
        raise InvalidInputError(Code.REQUEST_USAGE, "standard input is for the access token; give the other one a file")
    access = _read(token_file, "the access token")
    refresh = None if refresh_token_file is None else _read(refresh_token_file, "the refresh token")
    return Granted(Tokens(access, refresh), expires_in)


def _read(path: Path | None, what: str) -> Secret:
    """A token without what is around it.

    Raises:
        InvalidInputError: `REQUEST_FILE_NOT_FOUND`, or `REQUEST_USAGE` where that is no token; neither quotes it.
    """
    text = _text(path, what).strip()
    if not _TOKEN.fullmatch(text):
        source = "standard input" if path is None or str(path) == "-" else f"{str(path)!r}"
        told = f"{what}: {source} holds no token of 1 to 8,192 letters, digits and signs on one line"
        raise InvalidInputError(Code.REQUEST_USAGE, told)
    return Secret(text)


def _text(path: Path | None, what: str) -> str:
    if path is not None and str(path) != "-":
        try:
            return path.read_bytes().decode("ascii", "replace")
        except OSError as error:
            told = f"{str(path)!r} can't be read: {error.strerror}"
            raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, told) from None
    if sys.stdin.isatty():
        return str(click.prompt(what.capitalize(), hide_input=True, err=True))
    return sys.stdin.read()


def _notes(account: Account, has_refresh_token: bool) -> list[str]:
    """What a person had better know now than when the token has ended."""
    notes = []
    wanted = _WANTS_REFRESH_TOKEN.get(account.platform)
    if wanted is not None and not has_refresh_token:
        notes.append(f"note: without --refresh-token-file ({wanted}) it can't be refreshed, and ends for good")
    if renewal_of(account.platform).calendar is not None and account.token_expires_at is None:
        notes.append("note: without --expires-in its end is not known, and it is not refreshed ahead of it")
    return notes
