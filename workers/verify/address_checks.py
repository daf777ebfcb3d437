"""Whether what the settings name besides the two servers can be reached from here."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import Field

from penstock.producers.settings import Settings
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.exporting import ENDPOINTS, wants_export
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

#: Other logins at PostgreSQL, in which nothing is done but to connect.
_MIGRATION = str(WorkerSettings.model_fields["migration_database_url"].alias)
_BACKUP = str(BackupSettings.model_fields["backup_database_url"].alias)
_PLATFORMS = ("instagram_url", "facebook_url", "facebook_upload_url", "youtube_url", "google_token_url", "mastodon_url")
_PORTS = {"https": 443, "http": 80}


class _Backup(Settings):
    url: str | None = Field(default=None, alias=_BACKUP, repr=False)


def named_databases(target: Target) -> list[tuple[str, str]]:
    """The further URLs of databases that are set, with their names."""
    found = [
        (_MIGRATION, target.settings.migration_database_url),
        (_BACKUP, _Backup.from_environment(target.environ).url),
    ]
    return [(name, url) for name, url in found if url and url != target.settings.database_url]


def named_addresses(target: Target) -> list[tuple[str, str]]:
    """The addresses of others that are set, with their names. Platforms' own count where they were chosen."""
    settings = target.settings
    found = [("SENTRY_DSN", settings.sentry_dsn)]
    if wants_export(target.environ):
        endpoint = next(name for name in ENDPOINTS if target.environ.get(name))
        found.append((endpoint, target.environ[endpoint]))
    fields = type(settings).model_fields
    chosen = [name for name in _PLATFORMS if getattr(settings, name) != fields[name].default]
    found += [(str(fields[name].alias), getattr(settings, name)) for name in chosen]
    return [(name, url) for name, url in found if url]


def check_database(target: Target, name: str, url: str) -> Iterator[Result]:
    """Whether the login can connect.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    with target.database_at(url) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    yield Result.ok(f"reach_{name.lower()}", f"connects as {row[0] if row else 'nobody'}")


def check_address(target: Target, name: str, url: str) -> Iterator[Result]:
    """Whether a connection can be opened, with TLS where the address asks for it. Nothing is sent."""
    called, parts = f"reach_{name.lower()}", urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
        with socket.create_connection((host, port), timeout=target.limit.total_seconds() / 3) as plain:
            if parts.scheme == "https":
                ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        yield Result.warn(called, f"its certificate is not accepted ({error.verify_message})", _remedy(name))
        return
    except (OSError, ValueError) as error:
        yield Result.warn(called, f"can't be reached from here ({type(error).__name__})", _remedy(name))
        return
    yield Result.ok(called, f"{host} answers" + (", with TLS" if parts.scheme == "https" else ""))


def _remedy(name: str) -> str:
    return f"See {name}, and what lets this process out (name service, network policy, proxy)."
