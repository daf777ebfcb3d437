"""What `penstock migrate` needs to know: the database alone. A job that only migrates holds no other secret."""

from pydantic import Field, field_validator

from penstock.producers.settings import Settings
from penstock.producers.storage.address import require_usable
from penstock.schemas.errors import Code, InvalidInputError


class MigrationSettings(Settings):
    """Where the database is, and by which login it is migrated."""

    database_url: str | None = Field(default=None, alias="DATABASE_URL", repr=False, description="the database")
    migration_database_url: str | None = Field(
        default=None,
        alias="PENSTOCK_MIGRATION_DATABASE_URL",
        repr=False,
        description="the database with a role that may migrate it; `DATABASE_URL` where absent",
    )

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _usable_by_postgresql(cls, url: str | None) -> str | None:
        return url if url is None else require_usable(url)

    @property
    def url(self) -> str:
        """The database that is migrated.

        Raises:
            InvalidInputError: `CONFIG_INVALID` where none is named.
        """
        url = self.migration_database_url or self.database_url
        if url is None:
            raise InvalidInputError(
                Code.CONFIG_INVALID,
                "no database is named to migrate: neither PENSTOCK_MIGRATION_DATABASE_URL nor DATABASE_URL is set",
                remedy="Set one of them, or start everything on this machine: penstock up",
            )
        return url
