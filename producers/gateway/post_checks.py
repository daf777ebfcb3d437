"""What is wrong with a post for its platform, told before it is accepted. Workers judge it again at its intake."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.post_content import ContentFault
from penstock.schemas.post_rules import RULES, content_faults
from penstock.schemas.scheduled_post import LONGEST_AHEAD, SchedulePost


def require_publishable(platform: str, post: SchedulePost, private_hosts: Collection[str]) -> None:
    """See that the platform takes the post. One whose rules are not known here is left to the workers.

    Args:
        platform: of the post's account.
        post: as it was sent.
        private_hosts: whose media may come from private addresses.

    Raises:
        InvalidInputError: with the code of the first fault, and every one in `details["errors"]`. No value is quoted.
    """
    faults = [*_instant_faults(post)]
    if platform in RULES:
        faults += content_faults(RULES[platform], post.content, private_hosts)
    if not faults:
        return
    told = "; ".join(f"{fault.field or 'post'}: {fault.message}" for fault in faults[:5])
    raise InvalidInputError(
        faults[0].code, f"{platform} does not take it: {told}", details={"errors": [_told(fault) for fault in faults]}
    )


def _instant_faults(post: SchedulePost) -> Iterator[ContentFault]:
    if post.due_at - datetime.now(UTC) > LONGEST_AHEAD:
        told = f"it is over {LONGEST_AHEAD.days // 366} years ahead"
        yield ContentFault("due_at", Code.POST_SCHEDULE_INVALID, told)


def _told(fault: ContentFault) -> dict[str, str]:
    place = fault.field if fault.field == "due_at" else ".".join(filter(None, ("content", fault.field)))
    return {"at": str(place), "code": str(fault.code), "message": fault.message}
