"""How posts ended, by their table and by the stand-in's record, and whether the two fit together."""

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from tests.recovery.stand_in_process import StandInProcess
from tests.system import Database

#: How a post can end, or come to stand still until a person decides.
ENDED = {"published", "dead", "expired", "unknown_outcome", "held", "cancelled"}
#: Of those, the ones that leave a dead letter.
LETTERED = {"dead", "expired", "unknown_outcome"}

_ENDS = """
SELECT p.post_id, p.platform, a.external_id, p.content ->> 'text', p.state, p.parked_at IS NOT NULL, p.last_code,
       a.state_code, p.attempts, p.due_at, p.published_at,
       EXISTS (SELECT FROM penstock.dead_letters d WHERE d.job_id = p.claimed_by)
  FROM penstock.scheduled_posts p JOIN penstock.social_accounts a USING (account_id)
"""


@dataclass(frozen=True, slots=True)
class PostEnd:
    """Where a post stands, and how often the stand-in's record has it."""

    post_id: uuid.UUID
    platform: str
    account: str
    state: str
    parked: bool
    last_code: str | None
    account_code: str | None
    attempts: int
    due_at: datetime
    published_at: datetime | None
    lettered: bool
    published: int

    def fault(self) -> str | None:
        """What is wrong with how it ended; None where nothing is."""
        wanted = {"published": {1}, "unknown_outcome": {0, 1}}.get(self.state, {0})
        if self.published not in wanted:
            return f"{self.state}, and {self.published} times in the record"
        if self.state in LETTERED and not (self.last_code and self.lettered):
            return f"{self.state} without a reason ({self.last_code}) or a dead letter ({self.lettered})"
        if self.state == "held" and not self.last_code:
            return "held without a reason"
        if self.parked and not self.account_code:
            return "parked, and its account says no reason"
        if self.state not in ENDED and not self.parked:
            return f"still {self.state}"
        return None


def read_ends(database: Database, stand_in: StandInProcess) -> dict[uuid.UUID, PostEnd]:
    """Where each post stands. Texts are one of a kind, so a record knows a post by its account and text."""
    record = Counter((one["platform"], one["account"], one["text"]) for one in stand_in.publications())
    return {
        post_id: PostEnd(post_id, platform, account, *rest, record[platform, account, text or ""])
        for post_id, platform, account, text, *rest in database.query(_ENDS)
    }
