"""What posts say, as operators see it: redacted as payloads are, or revealed to somebody who says why."""

from typing import Any
from uuid import UUID

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.scheduled_post import SchedulePost
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.payloads import redacted
from penstock.workers.posts.search import PostSearch


class PostContents:
    """Reveals contents of posts. Safe to share between threads."""

    def __init__(self, transactions: Transactions, search: PostSearch) -> None:
        self._transactions = transactions
        self._search = search

    def reveal(self, post_id: UUID, by: str, reason: str) -> dict[str, Any]:
        """The content as its producer wrote it; that it was looked at is recorded before anybody sees it.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason.
            NotFoundError: `POST_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`; nobody may see it then.
        """
        by, reason = require_reason(by, reason)
        found = self._search.show(post_id).post
        entry = audit_entry(by, "post.reveal", str(post_id), reason, {"tenant": found.tenant})
        self._transactions.run(lambda transaction: record_actions(transaction.connection, [entry]))
        return found.content


def redacted_content(content: dict[str, Any]) -> Any:
    """The content of a post without what people wrote: texts, addresses and options are told by type and length."""
    return redacted(SchedulePost.kind, {"content": content})["content"]
