"""The loop that has accounts' tokens refreshed ahead of their end, as the calendar says."""

import logging
from datetime import timedelta

from penstock.workers.accounts.refresh import DueOutcome, TokenRefresh
from penstock.workers.telemetry.metrics import TOKEN_REFRESHES

_log = logging.getLogger(__name__)

#: Accounts of one run. A platform may let each wait for some 20 s (Facebook twice), and a run is not to look hung.
ROUND_ACCOUNTS = 2


class TokenRefreshes:
    """Refreshes in small rounds. Of several schedulers one asks for an account, by the lease in the account's row."""

    name = "token_refreshes"
    interval = timedelta(seconds=30)
    channel = None

    def __init__(self, refresh: TokenRefresh) -> None:
        self._refresh = refresh

    def run_once(self) -> bool:
        """Refresh a round; True where there are more.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        done = self._refresh.refresh_due(ROUND_ACCOUNTS)
        for one in done:
            TOKEN_REFRESHES.labels(one.platform, one.outcome).inc()
        # Another scheduler has the others then.
        return len(done) == ROUND_ACCOUNTS and any(one.outcome is not DueOutcome.BUSY for one in done)
