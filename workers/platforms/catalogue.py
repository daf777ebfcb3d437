"""All platforms of this release, by name, with the connections that they share."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.facebook import Facebook
from penstock.workers.platforms.http import PlatformHttp
from penstock.workers.platforms.instagram import Instagram
from penstock.workers.platforms.mastodon import Mastodon
from penstock.workers.platforms.media import MediaSource
from penstock.workers.platforms.platform import AccountRef, Platform
from penstock.workers.platforms.tokens import TokenRefresh
from penstock.workers.platforms.youtube import YouTube
from penstock.workers.protection.limits import LimitUse
from penstock.workers.settings import WorkerSettings

#: Those of this release.
_CLASSES = {platform.name: platform for platform in (Instagram, Facebook, YouTube, Mastodon)}


def limits_of(account: AccountRef) -> Sequence[LimitUse]:
    """What one publication takes of which limits; nothing for a platform that is not known here."""
    known = _CLASSES.get(account.platform)
    return () if known is None else known.limits(account)


def circuit_of(platform: str) -> str:
    """The circuit that guards a platform's calls, also of one that only another release knows."""
    return f"platform:{platform}" if platform not in _CLASSES else _CLASSES[platform].circuit


class Platforms:
    """The platforms of a process, safe to share between threads. Close it at the process's end."""

    def __init__(self, settings: WorkerSettings) -> None:
        endpoints = Endpoints.of(settings)
        self._http = PlatformHttp(endpoints.patience)
        self._media = MediaSource(endpoints)
        instagram = Instagram(endpoints, self._http)
        facebook = Facebook(endpoints, self._http, self._media)
        youtube = YouTube(endpoints, self._http, self._media)
        mastodon = Mastodon(endpoints, self._http, self._media)
        known: tuple[Platform, ...] = (instagram, facebook, youtube, mastodon)
        #: The longest that a visible step can take.
        self.visible_for: timedelta = endpoints.longest
        self.tokens = TokenRefresh(endpoints, settings, self._http)
        self.by_name: Mapping[str, Platform] = {platform.name: platform for platform in known}

    def __getitem__(self, name: str) -> Platform:
        """The platform of that name.

        Raises:
            InvalidInputError: `ACCOUNT_INVALID_PLATFORM` where there is none.
        """
        if name not in self.by_name:
            told = f"no platform {name!r}; there are {', '.join(sorted(self.by_name))}"
            raise InvalidInputError(Code.ACCOUNT_INVALID_PLATFORM, told)
        return self.by_name[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
        self._media.close()
