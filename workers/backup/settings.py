"""What backups need to know; they need neither Redis nor a worker's settings."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from penstock.producers.settings import Settings
from penstock.producers.storage.address import require_usable
from penstock.schemas.errors import Code, InvalidInputError


class BackupSettings(Settings):
    """What `penstock backup` needs to know."""

    database_url: str | None = Field(default=None, alias="DATABASE_URL", repr=False, description="the database")
    migration_database_url: str | None = Field(
        default=None,
        alias="PENSTOCK_MIGRATION_DATABASE_URL",
        repr=False,
        description="the database with a role that may migrate it",
    )
    backup_database_url: str | None = Field(
        default=None,
        alias="PENSTOCK_BACKUP_DATABASE_URL",
        repr=False,
        description="the database to back up, by a direct connection of a role that may read all of it;"
        " `PENSTOCK_MIGRATION_DATABASE_URL`, else `DATABASE_URL`, where absent",
    )
    target_url: str | None = Field(
        default=None,
        alias="PENSTOCK_BACKUP_TARGET_DATABASE_URL",
        repr=False,
        description="an empty database that backups are restored into; verification uses an embedded server of its own"
        " where absent",
    )
    folder: Path = Field(alias="PENSTOCK_BACKUP_DIR", description="the folder of the backups, on another disk")
    keys: str | None = Field(
        default=None,
        alias="PENSTOCK_BACKUP_KEY",
        repr=False,
        description="the keys that backups are encrypted with, as `id:key,id:key`: the first encrypts, all decrypt",
    )
    keep_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        default=30, alias="PENSTOCK_BACKUP_KEEP_DAYS", description="how long a backup is kept, the last good one longer"
    )
    tools: Path | None = Field(
        default=None,
        alias="PENSTOCK_BACKUP_TOOLS",
        description="the folder of `pg_dump` and `pg_restore`; searched for where absent",
    )

    @field_validator("database_url", "migration_database_url", "backup_database_url", "target_url")
    @classmethod
    def _usable_by_postgresql(cls, url: str | None) -> str | None:
        return url if url is None else require_usable(url)

    @property
    def keep(self) -> timedelta:
        """`keep_days` as a duration."""
        return timedelta(days=self.keep_days)

    @property
    def source_url(self) -> str:
        """The database that is backed up.

        Raises:
            InvalidInputError: `CONFIG_INVALID` where none is named.
        """
        url = self.backup_database_url or self.migration_database_url or self.database_url
        if url is None:
            raise InvalidInputError(
                Code.CONFIG_INVALID,
                "no database is named to back up",
                remedy="Set PENSTOCK_BACKUP_DATABASE_URL, or DATABASE_URL.",
            )
        return url
