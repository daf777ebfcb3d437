"""When a platform's tokens are refreshed: by a calendar, or shortly before they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

#: A refresh that failed for a reason that may pass is tried again after this, unless the platform names a time.
RETRY_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a platform's tokens are kept alive.

    Attributes:
        calendar: how long before its end a token is refreshed by the calendar; None where there is a refresh token,
            which does not end with the token that it renews.
        youngest: the platform refreshes no token that is younger.
        before_use: how long before its end a token is refreshed by whoever is about to use it.
    """

    calendar: timedelta | None = None
    youngest: timedelta = timedelta()
    before_use: timedelta = timedelta(minutes=5)

    def due_at(self, given_at: datetime, expires_at: datetime | None) -> datetime | None:
        """When the calendar has a token refreshed that was given at an instant; None for never.

        A token whose platform names no end needs no refresh. One that lives shorter than the span ahead is refreshed
        after half its life.
        """
        if self.calendar is None or expires_at is None:
            return None
        half = given_at + (expires_at - given_at) / 2
        return max(given_at + self.youngest, half, expires_at - self.calendar)


#: A token of Meta's that has ended can't be refreshed by anything, so the calendar comes half a month ahead; one that
#: is younger than a day is refused (developers.facebook.com/docs/instagram-platform/reference/refresh_access_token, as
#: of 2025-07-17, and facebook-login/guides/access-tokens/get-long-lived). Google's live an hour and have a refresh
#: token (developers.google.com/identity/protocols/oauth2). Mastodon's have no end.
RENEWALS: Mapping[str, Renewal] = {
    "facebook": Renewal(calendar=timedelta(days=15), youngest=timedelta(days=1)),
    "instagram": Renewal(calendar=timedelta(days=15), youngest=timedelta(days=1)),
    "mastodon": Renewal(),
    "youtube": Renewal(),
}


def renewal_of(platform: str) -> Renewal:
    """How tokens of a platform are kept alive; one that is not known is not refreshed by the calendar."""
    return RENEWALS.get(platform, Renewal())
