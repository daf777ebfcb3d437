"""Facebook pages: texts, links, pictures, videos, reels.

Calls: developers.facebook.com/docs/pages-api/posts, docs/graph-api/reference/page. A page has nothing by which a post
could be recognised, so a look-up compares: pictures are uploaded unseen first, and what the page had before is noted.
"""

import json
from collections.abc import Sequence
from datetime import timedelta

from penstock.schemas.post_content import ContentFault, PostContent
from penstock.schemas.post_rules import FACEBOOK as RULES
from penstock.schemas.post_rules import content_faults
from penstock.workers.platforms.answers import Phase, PlatformFault
from penstock.workers.platforms.classification.facebook import FACEBOOK
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.facebook_video import FacebookVideo
from penstock.workers.platforms.graph import graph_keys, graph_trace
from penstock.workers.platforms.http import Call, PlatformHttp
from penstock.workers.platforms.judge import Judge, settle_duplicate
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

#: Posts of a page that a look-up compares with; the platform gives no more than 100 at once.
_LOOKED_AT = "50"


class Facebook:
    """A page, by its page token."""

    name = "facebook"
    circuit = "platform:facebook"

    def __init__(self, endpoints: Endpoints, http: PlatformHttp, media: MediaSource) -> None:
        self._base = endpoints.facebook
        self._private_hosts = endpoints.private_hosts
        self._judge = Judge(self.name, FACEBOOK, http, graph_keys, graph_trace)
        self._video = FacebookVideo(endpoints, self._judge, media)

    @staticmethod
    def limits(account: AccountRef) -> Sequence[LimitUse]:
        """50 an hour; the platform publishes no number of its own."""
        key = f"account:{account.account_id}"
        return (LimitUse(key, 50, timedelta(hours=1), default_key="platform:facebook/account", once=True),)

    def validate(self, content: PostContent) -> Sequence[ContentFault]:
        """What the platform would refuse."""
        return content_faults(RULES, content, self._private_hosts)

    def prepare(self, publication: Publication, token: Secret) -> Prepared:
        """Upload the next picture unseen, or a piece of the video; then note what the page has already."""
        if _has_video(publication.content):
            return self._video.prepare(publication, token)
        photos: list[str] = list(publication.state.get("photos", ()))
        if len(photos) < len(publication.content.media):
            state = {**publication.state, "photos": [*photos, self._photo(publication, len(photos), token)]}
            return Prepared(publication.handle, state, ready=False)
        seen = [str(post["id"]) for post in self._posts(publication, Phase.PREPARE, token) if "id" in post]
        return Prepared(f"feed:{publication.post_id}", {**publication.state, "seen": seen}, ready=True)

    def publish(self, publication: Publication, token: Secret) -> Published:
        """Make the post: for pictures and texts one call of the feed, for videos the end of their upload."""
        if _has_video(publication.content):
            return self._video.publish(publication, token)
        call = self._post(publication, "feed", _feed_fields(publication), token)
        try:
            found, reply = self._judge.call(call, Phase.PUBLISH, publication.account, wanted="id")
        except PlatformFault as fault:
            raise settle_duplicate(fault, publication.tries) from None
        facts = self._judge.facts(reply, publication.account)
        return Published(str(found["id"]), text_or_none(found.get("permalink_url")), facts)

    def confirm(self, publication: Publication, token: Secret) -> Published:
        """Read the address of the post."""
        if publication.external_id is None or publication.url is not None:
            return Published(publication.external_id, publication.url)
        url = f"{self._base}/{publication.external_id}"
        call = Call("GET", url, "/{post}", {"fields": "permalink_url"}, token=token)
        found, reply = self._judge.call(call, Phase.CONFIRM, publication.account)
        link, facts = text_or_none(found.get("permalink_url")), self._judge.facts(reply, publication.account)
        return Published(publication.external_id, link, facts)

    def look_up(self, publication: Publication, token: Secret) -> Sighting:
        """Compare the page's newest posts with this one; a video is asked itself."""
        if _has_video(publication.content):
            return self._video.look_up(publication, token)
        posts = self._posts(publication, Phase.LOOK_UP, token)
        seen = publication.state.get("seen", ())
        found = matches(publication, posts, text="message", time="created_time", seen=seen)
        if len(found) == 1:
            return Found(str(found[0]["id"]), text_or_none(found[0].get("permalink_url")))
        if found:
            return Unknown(f"the page has {len(found)} posts of the same text since the first try")
        return NotFound(certain=False)

    def _photo(self, publication: Publication, position: int, token: Secret) -> str:
        media = publication.content.media[position]
        fields = {"url": media.url, "published": "false", **({"alt_text_custom": media.alt} if media.alt else {})}
        call = self._post(publication, "photos", fields, token)
        found, _ = self._judge.call(call, Phase.PREPARE, publication.account, wanted="id")
        return str(found["id"])

    def _posts(self, publication: Publication, phase: Phase, token: Secret) -> Sequence[dict[str, object]]:
        scheduled = "scheduled_publish_time" in publication.content.options
        edge = "scheduled_posts" if scheduled else "published_posts"
        fields = {"fields": "id,message,created_time,permalink_url", "limit": _LOOKED_AT}
        url = f"{self._base}/{publication.account.external_id}/{edge}"
        found, reply = self._judge.call(
            Call("GET", url, f"/{{page}}/{edge}", fields, token=token), phase, publication.account
        )
        listed = found.get("data")
        if not isinstance(listed, list):
            raise self._judge.fault(reply, phase, publication.account, "unreadable")
        return [post for post in listed if isinstance(post, dict)]

    def _post(self, publication: Publication, edge: str, fields: dict[str, str], token: Secret) -> Call:
        url = f"{self._base}/{publication.account.external_id}/{edge}"
        return Call("POST", url, f"/{{page}}/{edge}", fields, token=token)


def _has_video(content: PostContent) -> bool:
    return any(media.kind == "video" for media in content.media)


def _feed_fields(publication: Publication) -> dict[str, str]:
    content = publication.content
    fields = {"fields": "id,permalink_url"}
    if content.text:
        fields["message"] = content.text
    if content.link:
        fields["link"] = content.link
    photos = publication.state.get("photos", ())
    if photos:
        fields["attached_media"] = json.dumps([{"media_fbid": photo} for photo in photos])
    scheduled = content.options.get("scheduled_publish_time")
    if scheduled is not None:
        fields |= {"published": "false", "scheduled_publish_time": str(scheduled)}
    return fields
