"""`penstock keys`: who may call the gateway, and for what."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click
import psycopg

from penstock.migrations.rights import act_as_owner, may_act_as_owner
from penstock.migrations.runner import require_current
from penstock.producers.queue.audit import audit_entry
from penstock.producers.settings import ApiKeySettings
from penstock.producers.storage.api_key_secrets import KeySecrets
from penstock.producers.storage.api_keys_changes import (
    KeySummary,
    WantedKey,
    add_key,
    list_keys,
    lock_key,
    replace_key,
    require_replaceable,
    revoke_key,
)
from penstock.schemas.api_key import ApiKey, Scope
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.cli.durations import DURATION, told_duration
from penstock.workers.cli.environment import environment, open_database, worker_settings
from penstock.workers.cli.operator import login_name, reason_option, require_reason_text, require_tenant, yes_option
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, emit_list, json_option, to_the_second
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.pages import read_cursor, write_cursor
from penstock.workers.settings import WorkerSettings

_COLUMNS = ("id", "tenant", "name", "prefix", "scopes", "state", "created_at", "expires_at", "last_used_at")
_ORDER = "keys newest first"
_INSTANTS = ("created_at", "expires_at", "revoked_at", "last_used_at")

_expires_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--expires-in", type=DURATION, help="How long it is good, in seconds or as 12h, 90d; for ever if absent."
)


@click.group(epilog="Example: penstock keys create --tenant acme --name 'web shop' --scope submissions:write")
def keys() -> None:
    """API keys: who may call the gateway, and for what."""


@keys.command(
    epilog="Example: penstock keys create --tenant acme --name shop --scope submissions:write --scope status:read"
)
@click.option("--name", required=True, help="What it is for, or whose it is: one line.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([str(scope) for scope in Scope]),
    multiple=True,
    required=True,
    help="What it may do; say it again for each.",
)
@_expires_option
@click.option("--reason", help="Why; it is recorded with your login name. The key's name if absent.")
@tenant_option
@json_option
def create(
    name: str,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    reason: str | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it, once: nothing that is stored can tell it again."""
    why = require_reason_text(name if reason is None else reason)
    made, secrets = ApiKey.make(), _secrets()
    with _as_owner() as (connection, settings):
        wanted = WantedKey(
            tenant=tenant or settings.tenant,
            name=name,
            scopes=scopes,
            created_by=login_name(),
            expires_in=expires_in,
        )
        key = add_key(connection, made, secrets, wanted)
        _record(connection, "api_key.create", key, why)
    _emit_made(made, key, as_json)


@keys.command("list", epilog="Example: penstock keys list --tenant acme --json")
@click.option("--tenant", callback=require_tenant, help="Only this tenant's; everybody's if absent.")
@click.option("--all", "ended_too", is_flag=True, help="Those that were revoked or have expired as well.")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@json_option
def list_(tenant: str | None, ended_too: bool, after: str | None, limit: int, as_json: bool) -> None:
    """List keys, the newest first: whose each is, what it may do, and when it was used last, to about a minute."""
    place: tuple[datetime, UUID] | None = None
    if after is not None:
        at, key_id = read_cursor(after, _ORDER, datetime, UUID)
        place = (at, key_id)
    with open_database(worker_settings().database_url) as connection:
        found = list_keys(connection, tenant, ended_too=ended_too, after=place, limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else write_cursor(_ORDER, last.created_at, last.key_id)
    emit_list([key.as_dict() if as_json else _row(key) for key in found[:limit]], following, as_json, _COLUMNS)


@keys.command(epilog="Example: penstock keys revoke 0b1c…-… --reason 'found in a public repository' --yes")
@click.argument("key_name", metavar="ID")
@reason_option
@yes_option
@json_option
def revoke(key_name: str, reason: str, yes: bool, as_json: bool) -> None:
    """End the key of this ID (or prefix) for ever; every gateway refuses it within two seconds."""
    if not yes:
        click.confirm(f"Revoke {_named(_look(key_name))}?", abort=True, err=True)
    with _as_owner() as (connection, _):
        before = lock_key(connection, key_name)
        after = revoke_key(connection, before)
        changed = before.revoked_at is None
        if changed:
            _record(connection, "api_key.revoke", after, reason)
    told = "is revoked" if changed else f"was revoked already, at {_row(after)['revoked_at']}; nothing changed"
    emit(after.as_dict() | {"changed": changed}, as_json, lambda: f"{_named(after)} {told}")


@keys.command(epilog="Example: penstock keys rotate 0b1c…-… --overlap 7d --reason 'yearly' --yes")
@click.argument("key_name", metavar="ID")
@click.option("--overlap", type=DURATION, default="1d", show_default=True, help="How long the old one is still good.")
@_expires_option
@reason_option
@yes_option
@json_option
def rotate(
    key_name: str, overlap: timedelta, expires_in: timedelta | None, reason: str, yes: bool, as_json: bool
) -> None:
    """Make a key in place of the one of this ID (or prefix), with its tenant, name and scopes, and print it, once.

    Without --expires-in the new one is good as long as the old one was meant to be.
    """
    made, secrets = ApiKey.make(), _secrets()
    if not yes:
        asked = f"Rotate {_named(_look(key_name))}? It ends in {told_duration(overlap)}."
        click.confirm(asked, abort=True, err=True)
    with _as_owner() as (connection, _):
        old = lock_key(connection, key_name)
        require_replaceable(old)
        lifetime = expires_in or (None if old.expires_at is None else old.expires_at - old.created_at)
        wanted = WantedKey(
            tenant=old.tenant, name=old.name, scopes=old.scopes, created_by=login_name(), expires_in=lifetime
        )
        key = add_key(connection, made, secrets, wanted)
        ended = replace_key(connection, old, key, overlap)
        _record(connection, "api_key.rotate", ended, reason)
    _emit_made(made, key, as_json, ended)


def _look(key_name: str) -> KeySummary:
    """The key that a command is about, for its question: nothing is locked while somebody thinks."""
    with _as_owner() as (connection, _):
        return lock_key(connection, key_name)


def _secrets() -> KeySecrets:
    """What digests of new keys are keyed with.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    return KeySecrets.from_setting(ApiKeySettings.from_environment(environment()).api_key_secret)


@contextmanager
def _as_owner() -> Iterator[tuple[psycopg.Connection, WorkerSettings]]:
    """A transaction that may change keys, which gateways and workers may not.

    Raises:
        PenstockError: `STORAGE_PERMISSION_DENIED`, `STORAGE_SCHEMA_OUTDATED` or another of the `STORAGE_` family.
    """
    settings = worker_settings()
    url = settings.migration_database_url or settings.database_url
    with open_database(url) as connection, connection.transaction():
        require_current(connection)
        if not may_act_as_owner(connection):
            raise PenstockError(
                Code.STORAGE_PERMISSION_DENIED,
                f"the role {connection.info.user} may not change API keys",
                remedy="Set PENSTOCK_MIGRATION_DATABASE_URL to a login that migrates: it may act as penstock_owner.",
            )
        act_as_owner(connection)
        yield connection, settings


def _record(connection: psycopg.Connection, action: str, key: KeySummary, reason: str) -> None:
    details = {
        name: key.as_dict()[name] for name in ("tenant", "name", "prefix", "scopes", "expires_at", "replaced_by")
    }
    record_actions(connection, [audit_entry(login_name(), action, str(key.key_id), reason, details)])


def _emit_made(made: ApiKey, key: KeySummary, as_json: bool, replaced: KeySummary | None = None) -> None:
    lines = [made.text, f"{_named(key)} may: {', '.join(key.scopes)}. The line above is shown this once."]
    value = key.as_dict() | {"key": made.text}
    if replaced is not None:
        value |= {"replaces": replaced.as_dict()}
        lines.append(f"{_named(replaced)} is good until {_row(replaced)['expires_at']}")
    emit(value, as_json, lambda: "\n".join(lines))


def _named(key: KeySummary) -> str:
    return f"the key {key.key_id} ({key.name}, tenant {key.tenant})"


def _row(key: KeySummary) -> dict[str, Any]:
    found = key.as_dict()
    return found | {name: to_the_second(found[name]) for name in _INSTANTS} | {"scopes": " ".join(key.scopes)}
