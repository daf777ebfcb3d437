"""Mastodon: media are uploaded unseen, then one call posts. Its idempotency key makes that call safe for an hour.

docs.joinmastodon.org/methods/statuses and methods/media.
"""

import html
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.schemas.errors import Code
from penstock.schemas.post_content import ContentFault, PostContent
from penstock.schemas.post_rules import MASTODON as RULES
from penstock.schemas.post_rules import content_faults
from penstock.workers.platforms.answers import Answer, AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.classification.mastodon import MASTODON
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.http import Call, PlatformHttp, Reply
from penstock.workers.platforms.judge import Judge, failure_keys
from penstock.workers.platforms.matching import matches, text_or_none
from penstock.workers.platforms.media import MediaSource
from penstock.workers.platforms.platform import (
    AccountRef,
    Found,
    NotFound,
    Prepared,
    Publication,
    Published,
    Secret,
    Sighting,
    Unknown,
)
from penstock.workers.protection.limits import LimitUse

#: The server keeps a key for an hour; the last minutes are left to calls that take long and to clocks.
KEY_LIVES = timedelta(minutes=55)
#: Servers bound uploads below this; media are held in memory while they are passed on.
LARGEST_MEDIA_BYTES = 99 * 1024 * 1024
_TAG = re.compile(r"<[^>]*>")
_BREAK = re.compile(r"<(br|/p)\b[^>]*>", re.IGNORECASE)


class Mastodon:
    """An account on one server."""

    name = "mastodon"
    circuit = "platform:mastodon"

    def __init__(
        self,
        endpoints: Endpoints,
        http: PlatformHttp,
        media: MediaSource,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base = endpoints.mastodon
        self._private_hosts = endpoints.private_hosts
        self._judge = Judge(self.name, MASTODON, http, failure_keys, lambda reply: reply.headers.get("x-request-id"))
        self._media = media
        self._clock = clock

    @staticmethod
    def limits(account: AccountRef) -> Sequence[LimitUse]:
        """10 an hour."""
        key = f"account:{account.account_id}"
        return (LimitUse(key, 10, timedelta(hours=1), default_key="platform:mastodon/account", once=True),)

    def validate(self, content: PostContent) -> Sequence[ContentFault]:
        """What the platform would refuse."""
        return content_faults(RULES, content, self._private_hosts)

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Upload the next media; then the key by which the server knows the post is its handle."""
        uploaded: list[str] = list(publication.state.get("media", ()))
        if len(uploaded) < len(publication.content.media):
            media = self._upload(publication, len(uploaded), token)
            return Prepared(None, {**publication.state, "media": [*uploaded, media]}, ready=False)
        return Prepared(f"penstock-{publication.post_id}", dict(publication.state), ready=True)

    def publish(self, publication: Publication, token: Secret) -> Published:
        """Post, under the key."""
        body: dict[str, Any] = {"status": publication.content.text, **_options(publication.content)}
        if publication.state.get("media"):
            body["media_ids"] = list(publication.state["media"])
        headers = {"Idempotency-Key": publication.handle or ""}
        url = f"{self._base}/api/v1/statuses"
        call = Call("POST", url, "/api/v1/statuses", body=body, headers=headers, token=token)
        found, reply = self._judge.call(call, Phase.PUBLISH, publication.account, wanted="id")
        return Published(
            str(found["id"]), text_or_none(found.get("url")), self._judge.facts(reply, publication.account)
        )

    def confirm(self, publication: Publication, token: Secret) -> Published:
        """Read the post back."""
        url = f"{self._base}/api/v1/statuses/{publication.external_id}"
        call = Call("GET", url, "/api/v1/statuses/{status}", token=token)
        found, reply = self._judge.call(call, Phase.CONFIRM, publication.account, wanted="id")
        return Published(
            str(found["id"]), text_or_none(found.get("url")), self._judge.facts(reply, publication.account)
        )

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Compare the account's newest posts. Within the hour "not there" is enough: the key guards the next try."""
        url = f"{self._base}/api/v1/accounts/{publication.account.external_id}/statuses"
        fields = {"limit": "40", "exclude_reblogs": "true"}
        call = Call("GET", url, "/api/v1/accounts/{account}/statuses", fields, token=token)
        reply = self._judge.http.send(call)
        listed = _list(reply)
        if listed is None:
            raise self._judge.fault(reply, Phase.LOOK_UP, publication.account)
        plain = [{**status, "content": plain_text(str(status.get("content", "")))} for status in listed]
        found = matches(publication, plain, text="content", time="created_at")
        if len(found) == 1:
            return Found(str(found[0]["id"]), text_or_none(found[0].get("url")))
        if found:
            return Unknown(f"the account has {len(found)} posts of the same text since the first try")
        armed = publication.armed_at
        return NotFound(certain=armed is not None and self._clock() - armed < KEY_LIVES)

    def _upload(self, publication: Publication, position: int, token: Secret) -> str:
        media = publication.content.media[position]
        file = self._media.look(media.url)
        if file.size_bytes > LARGEST_MEDIA_BYTES:
            told = "mastodon: the media is too large"
            raise PlatformFault(
                Answer(AnswerClass.PERMANENT, Phase.PREPARE, Code.POST_MEDIA_INVALID, told, "size", asked=False)
            )  # fmt: skip
        content = self._media.piece(media.url, 0, file.size_bytes - 1)
        fields = {"description": media.alt} if media.alt else {}
        part = ("media", file.content_type, content)
        call = Call("POST", f"{self._base}/api/v2/media", "/api/v2/media", fields, file=part, token=token)
        found, _ = self._judge.call(call, Phase.PREPARE, publication.account, wanted="id")
        return str(found["id"])


def plain_text(content: str) -> str:
    """A post's text without the HTML that servers wrap it in."""
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", content)))


def _options(content: PostContent) -> dict[str, Any]:
    return {"visibility": "public", **content.options}


def _list(reply: Reply) -> list[dict[str, Any]] | None:
    """A successful body that is a list of objects."""
    listed = reply.json_list() if reply.ok else None
    return None if listed is None else [one for one in listed if isinstance(one, dict)]
