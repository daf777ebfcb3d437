"""The accounts that lines of a file name.

By their id, as `platform:its id there` or `platform:its name`; or by the platform, whose account an option names.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.accounts.account import Account
from penstock.workers.accounts.store import find_account, find_by_reference
from penstock.workers.handover.post_lines import LineFault, PostLine

#: With its dashes: an id at a platform may be nothing but digits.
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class PostAccounts:
    """Finds a tenant's accounts, each once.

    Args:
        connection: to PostgreSQL.
        tenant: whose accounts.
        by_platform: the account of lines that name a platform alone, as a line would name it.
    """

    def __init__(self, connection: "psycopg.Connection[Any]", tenant: str, by_platform: Mapping[str, str]) -> None:
        self._connection = connection
        self._tenant = tenant
        self._by_platform = by_platform
        self._find = lru_cache(maxsize=None)(self._look)

    def of_line(self, number: int, line: PostLine) -> Account | LineFault:
        """The account that a line's post goes to, or why there is none."""
        reference = line.account or self._by_platform.get(line.platform or "")
        if reference is None:
            if line.platform is None:
                return LineFault(number, "account", Code.REQUEST_FILE_INVALID, "it names no account")
            told = f"it names the platform {line.platform[:50]!r} and no account: say --account PLATFORM=ACCOUNT"
            return LineFault(number, "account", Code.REQUEST_FILE_INVALID, told)
        found = self._find(reference, line.platform)
        return found if isinstance(found, Account) else LineFault(number, "account", *found)

    def _look(self, reference: str, platform: str | None) -> Account | tuple[Code, str]:
        shown = repr(reference[:100])
        found = self._candidates(reference, platform)
        if not found:
            return Code.ACCOUNT_NOT_FOUND, f"the tenant has no account {shown}"
        if len(found) > 1:
            return Code.ACCOUNT_NOT_FOUND, f"the tenant has several accounts {shown}: say which, by its id"
        if platform is not None and found[0].platform != platform:
            return Code.ACCOUNT_INVALID_PLATFORM, f"the account {shown} is one of {found[0].platform}"
        return found[0]

    def _candidates(self, reference: str, platform: str | None) -> list[Account]:
        if _UUID.fullmatch(reference):
            found = find_account(self._connection, self._tenant, UUID(reference))
            return [] if found is None else [found]
        named, parted, rest = reference.partition(":")
        if parted:
            return find_by_reference(self._connection, self._tenant, named, rest)
        return [] if platform is None else find_by_reference(self._connection, self._tenant, platform, reference)


def accounts_by_platform(options: tuple[str, ...]) -> dict[str, str]:
    """What options `PLATFORM=ACCOUNT` say.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where one says something else, or two are of one platform.
    """
    found: dict[str, str] = {}
    for option in options:
        platform, parted, reference = option.partition("=")
        if not platform or not parted or not reference or platform in found:
            raise InvalidInputError(
                Code.REQUEST_USAGE, f"--account {option!r} is no PLATFORM=ACCOUNT, or the second one"
            )
        found[platform] = reference
    return found
