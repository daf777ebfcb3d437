"""Forms that are known to be there, so that not every request asks PostgreSQL."""

import logging
import time
from collections import OrderedDict

from penstock.producers.storage.database import Database
from penstock.producers.storage.forms import find_form
from penstock.schemas.errors import Code, NotFoundError, PenstockError

_log = logging.getLogger(__name__)

#: Forms are never removed by anything of ours; somebody with SQL may.
_TRUST_SECONDS = 60.0
_KEPT = 10_000
_Which = tuple[str, str, int | None]


class KnownForms:
    """Asks once a minute for each form. For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[_Which, float] = OrderedDict()

    async def require(self, tenant: str, form_id: str, version: int | None) -> None:
        """See that the form is there. While nobody can tell, it is taken to be: the worker looks again.

        Raises:
            NotFoundError: `FORM_NOT_FOUND` or `FORM_VERSION_NOT_FOUND`.
        """
        which = tenant, form_id, version
        now = time.monotonic()
        if now < self._known.get(which, 0.0):
            return
        try:
            found = await self._database.run(lambda connection: find_form(connection, tenant, form_id, version))
        except PenstockError as error:
            _log.warning("a form could not be looked for: %s", error.message, extra={"code": error.code})
            return
        if found is None:
            if version is not None:
                raise NotFoundError(Code.FORM_VERSION_NOT_FOUND, f"there is no version {version} of {form_id!r}")
            raise NotFoundError(Code.FORM_NOT_FOUND, f"there is no form {form_id!r}")
        self._known[which] = now + _TRUST_SECONDS
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
