"""Instagram: a container is made and worked on unseen; publishing it is the one visible step.

Steps and fields: developers.facebook.com/docs/instagram-platform/content-publishing. What makes this safe is that a
container tells whether it was published.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from penstock.schemas.post_content import ContentFault, Media, PostContent
from penstock.schemas.post_rules import INSTAGRAM as RULES
from penstock.schemas.post_rules import content_faults
from penstock.workers.platforms.answers import AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.classification.instagram import INSTAGRAM
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.graph import graph_keys, graph_trace
from penstock.workers.platforms.http import Call, PlatformHttp, Reply
from penstock.workers.platforms.judge import Judge
from penstock.workers.platforms.matching import matches, text_or_none
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

#: Between looks at a container; pictures take seconds, reels minutes. After that once a minute, as the guide asks.
POLLS = tuple(timedelta(seconds=seconds) for seconds in (3, 5, 10, 20, 30))
POLL_LATER = timedelta(seconds=60)
_HOUR, _DAY = timedelta(hours=1), timedelta(hours=24)
_SUBCODE = re.compile(r"\b(2207\d{3})\b")


class Instagram:
    """A professional account: pictures, reels, carousels."""

    name = "instagram"
    circuit = "platform:instagram"

    def __init__(self, endpoints: Endpoints, http: PlatformHttp) -> None:
        self._base = endpoints.instagram
        self._private_hosts = endpoints.private_hosts
        self._judge = Judge(self.name, INSTAGRAM, http, graph_keys, graph_trace)

    @staticmethod
    def limits(account: AccountRef) -> Sequence[LimitUse]:
        """25 an hour, and 50 a day: the lower of the two numbers that the platform's pages name."""
        key = f"account:{account.account_id}"
        return (
            LimitUse(key, 25, _HOUR, default_key="platform:instagram/account", once=True),
            LimitUse(f"{key}/day", 50, _DAY, default_key="platform:instagram/account/day", once=True),
        )

    def validate(self, content: PostContent) -> Sequence[ContentFault]:
        """What the platform would refuse."""
        return content_faults(RULES, content, self._private_hosts)

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Make the next container, or look whether the one that is awaited is ready."""
        if publication.handle is not None:
            return self._poll(publication, publication.handle, token)
        media = publication.content.media
        children: list[str] = list(publication.state.get("children", ()))
        if len(media) > 1 and len(children) < len(media):
            return self._child(publication, children, token)
        waiting = [child for child in children if child not in publication.state.get("ready", ())]
        if waiting:
            return self._poll(publication, waiting[0], token)
        return self._container(publication, children, token)

    def publish(self, publication: Publication, token: Secret) -> Published:
        """Publish the container."""
        fields = {"creation_id": publication.handle or ""}
        call = self._post(publication, "media_publish", fields, token)
        found, reply = self._judge.call(call, Phase.PUBLISH, publication.account, wanted="id")
        return Published(str(found["id"]), None, self._judge.facts(reply, publication.account))

    def confirm(self, publication: Publication, token: Secret) -> Published:
        """Read the address of what was published."""
        if publication.external_id is None:
            return Published(None)
        call = self._get(publication.external_id, "/{media}", {"fields": "permalink"}, token)
        found, reply = self._judge.call(call, Phase.CONFIRM, publication.account)
        url, facts = text_or_none(found.get("permalink")), self._judge.facts(reply, publication.account)
        return Published(publication.external_id, url, facts)

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Ask the container; it says `PUBLISHED` or not. Only where it can't be read the account's media decide."""
        try:
            status, _, _ = self._status(publication, publication.handle or "", Phase.LOOK_UP, token)
        except PlatformFault as fault:
            # 24: the container is not found, or not any more.
            if fault.answer.cls is not AnswerClass.PENDING and not fault.answer.platform_code.startswith("24/"):
                raise
            status = "UNREADABLE"
        if status in {"EXPIRED", "ERROR"}:
            return NotFound(certain=status == "EXPIRED", handle_usable=False)
        if status in {"FINISHED", "IN_PROGRESS"}:
            return NotFound(certain=False)
        found = self._published_media(publication, token)
        if len(found) == 1:
            return Found(str(found[0]["id"]), text_or_none(found[0].get("permalink")))
        if status == "PUBLISHED":
            return Found(None)
        return Unknown("the container can't be read, and the account's media do not tell")

    def quota(self, account: AccountRef, token: Secret) -> tuple[int, int | None]:
        """Publications of the last 24 h, and how many the platform allows in 24 h where it says so."""
        fields = {"fields": "quota_usage,config"}
        path = "/{ig}/content_publishing_limit"
        call = self._get(f"{account.external_id}/content_publishing_limit", path, fields, token)
        found, reply = self._judge.call(call, Phase.PREPARE, account, wanted="data")
        entry = found["data"][0] if isinstance(found["data"], list) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("quota_usage"), int):
            raise self._judge.fault(reply, Phase.PREPARE, account, "unreadable")
        config = entry.get("config")
        total = config.get("quota_total") if isinstance(config, dict) else None
        return entry["quota_usage"], total if isinstance(total, int) else None

    def _child(self, publication: Publication, children: list[str], token: Secret) -> Prepared:
        media = publication.content.media[len(children)]
        fields = {**_media_fields(media, "VIDEO"), "is_carousel_item": "true"}
        made = self._make(publication, fields, token)
        return Prepared(None, {**publication.state, "children": [*children, made]}, ready=False)

    def _container(self, publication: Publication, children: list[str], token: Secret) -> Prepared:
        content = publication.content
        if children:
            fields = {"media_type": "CAROUSEL", "children": ",".join(children)}
        else:
            fields = {**_media_fields(content.media[0], "REELS"), **_options(content)}
        made = self._make(publication, {**fields, "caption": content.text}, token)
        return Prepared(made, {**publication.state, "polls": 0}, ready=False, wait=POLLS[0])

    def _make(self, publication: Publication, fields: dict[str, str], token: Secret) -> str:
        call = self._post(publication, "media", fields, token)
        found, _ = self._judge.call(call, Phase.PREPARE, publication.account, wanted="id")
        return str(found["id"])

    def _poll(self, publication: Publication, container: str, token: Secret) -> Prepared:
        state, polls = dict(publication.state), int(publication.state.get("polls", 0))
        try:
            status, told, reply = self._status(publication, container, Phase.PREPARE, token)
        except PlatformFault as fault:
            if fault.answer.cls is not AnswerClass.PENDING:
                raise
            status, told, reply = "IN_PROGRESS", "", None
        if reply is not None and status in {"ERROR", "EXPIRED"}:
            subcode = _SUBCODE.search(told)
            keys = (*((subcode[1],) if subcode else ()), f"status:{status}")
            raise self._judge.fault(reply, Phase.PREPARE, publication.account, *keys)
        if status == "IN_PROGRESS":
            wait = POLLS[polls] if polls < len(POLLS) else POLL_LATER
            return Prepared(publication.handle, {**state, "polls": polls + 1}, ready=False, wait=wait)
        state["polls"] = 0
        if container != publication.handle:
            return Prepared(None, {**state, "ready": [*state.get("ready", ()), container]}, ready=False)
        return Prepared(container, state, ready=True)

    def _status(self, publication: Publication, container: str, phase: Phase, token: Secret) -> tuple[str, str, Reply]:
        """A container's status, what the platform says of it, and the reply."""
        call = self._get(container, "/{container}", {"fields": "status_code,status"}, token)
        found, reply = self._judge.call(call, phase, publication.account, wanted="status_code")
        return str(found["status_code"]), str(found.get("status", "")), reply

    def _published_media(self, publication: Publication, token: Secret) -> Sequence[Any]:
        fields = {"fields": "id,caption,permalink,timestamp,media_product_type", "limit": "50"}
        call = self._get(f"{publication.account.external_id}/media", "/{ig}/media", fields, token)
        found, _ = self._judge.call(call, Phase.LOOK_UP, publication.account)
        listed = found.get("data")
        return matches(publication, listed if isinstance(listed, list) else (), text="caption", time="timestamp")

    def _get(self, path: str, template: str, fields: dict[str, str], token: Secret) -> Call:
        return Call("GET", f"{self._base}/{path}", template, fields, token=token)

    def _post(self, publication: Publication, edge: str, fields: dict[str, str], token: Secret) -> Call:
        url = f"{self._base}/{publication.account.external_id}/{edge}"
        return Call("POST", url, f"/{{ig}}/{edge}", fields, token=token)


def _media_fields(media: Media, video_type: str) -> dict[str, str]:
    if media.kind == "video":
        return {"media_type": video_type, "video_url": media.url}
    return {"image_url": media.url, **({"alt_text": media.alt} if media.alt else {})}


def _options(content: PostContent) -> dict[str, str]:
    names = {"share_to_feed": "share_to_feed", "location_id": "location_id", "thumb_offset_ms": "thumb_offset"}
    chosen = {names[name]: value for name, value in content.options.items() if name in names}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in chosen.items()}
