"""Where the platforms are, in which version, and how long a call may take: from the settings."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from penstock.schemas.media_address import hosts_named
from penstock.workers.settings import WorkerSettings

#: What a busy machine adds to a call.
_MARGIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call waits: for its connection, for the next bytes, and as a whole."""

    connect: timedelta = timedelta(seconds=5)
    read: timedelta = timedelta(seconds=30)
    whole: timedelta = timedelta(seconds=60)

    @property
    def longest(self) -> timedelta:
        """After this a call that was begun is over for certain, in a process that gets its turns."""
        return self.whole + _MARGIN


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses without a slash at their end; the Graph ones with their version."""

    instagram: str
    instagram_tokens: str
    facebook: str
    facebook_upload: str
    youtube: str
    youtube_version: str
    google_token: str
    mastodon: str
    private_hosts: frozenset[str] = frozenset()
    piece_bytes: int = 8 * 1024 * 1024
    patience: Patience = Patience()

    @property
    def longest(self) -> timedelta:
        """The longest that a platform's `publish` can take: at the most it fetches a piece of media and sends it."""
        return 2 * self.patience.longest

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """The endpoints that the settings name."""
        return cls(
            instagram=f"{settings.instagram_url}/{settings.instagram_version}",
            instagram_tokens=settings.instagram_url,
            facebook=f"{settings.facebook_url}/{settings.facebook_version}",
            facebook_upload=settings.facebook_upload_url,
            youtube=settings.youtube_url,
            youtube_version=settings.youtube_version,
            google_token=settings.google_token_url,
            mastodon=settings.mastodon_url,
            private_hosts=hosts_named(settings.media_private_hosts),
            piece_bytes=settings.upload_piece_bytes,
            patience=Patience(
                timedelta(seconds=settings.platform_connect_seconds),
                timedelta(seconds=settings.platform_read_seconds),
                timedelta(seconds=settings.platform_call_seconds),
            ),
        )
