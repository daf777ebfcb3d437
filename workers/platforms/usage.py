"""What answers tell of limits, beside their own word: Meta's usage headers, `X-RateLimit-*`, `Retry-After`.

Meta: developers.facebook.com/docs/graph-api/overview/rate-limiting. Mastodon: docs.joinmastodon.org/api/rate-limits.
All of these may be absent, and what can't be read is as if it were.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.workers.platforms.answers import LimitFact
from penstock.workers.protection.retry import parse_retry_after

#: From here on calls only prolong what is coming.
PAUSE_PERCENT = 95
#: A pause at the least, and where the platform names no time.
SHORTEST_PAUSE = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(days=1)


def limit_facts(headers: Mapping[str, str], platform: str, account_id: str) -> tuple[LimitFact, ...]:
    """All that an answer's headers tell, for the keys `platform:<platform>` and `account:<account id>`."""
    account_key = f"account:{account_id}"
    return (
        *_app_usage(headers.get("x-app-usage"), f"platform:{platform}"),
        *_business_usage(headers.get("x-business-use-case-usage"), account_key),
        *_rate_limit(headers, account_key),
    )


def told_wait(headers: Mapping[str, str], facts: tuple[LimitFact, ...]) -> timedelta | None:
    """How long an answer asks to wait: the longest that it names; None where it names nothing."""
    waits = [fact.blocked_for for fact in facts if fact.blocked_for is not None]
    retry_after = headers.get("retry-after")
    if retry_after is not None:
        waits += [wait] if (wait := parse_retry_after(retry_after)) is not None else []
    return max(waits, default=None)


def _app_usage(text: str | None, key: str) -> Iterator[LimitFact]:
    usage = _object(text)
    if usage:
        percent = _percent(usage)
        yield LimitFact(key, SHORTEST_PAUSE if percent >= PAUSE_PERCENT else None, percent, reason="X-App-Usage")


def _business_usage(text: str | None, key: str) -> Iterator[LimitFact]:
    entries = [entry for listed in _object(text).values() if isinstance(listed, list) for entry in listed]
    for entry in entries:
        if isinstance(entry, dict):
            percent, minutes = _percent(entry), _whole(entry.get("estimated_time_to_regain_access"))
            blocked = timedelta(minutes=min(minutes, 1_440)) if minutes else None
            if blocked is None and percent >= PAUSE_PERCENT:
                blocked = SHORTEST_PAUSE
            yield LimitFact(key, blocked, percent, reason="X-Business-Use-Case-Usage")


def _rate_limit(headers: Mapping[str, str], key: str) -> Iterator[LimitFact]:
    remaining = headers.get("x-ratelimit-remaining", "")
    if not (remaining.isascii() and remaining.isdecimal()):
        return
    left = int(remaining[:9])
    wait = _until(headers.get("x-ratelimit-reset", "")) if left == 0 else None
    yield LimitFact(key, wait, remaining=left, reason="X-RateLimit-Remaining")


def _until(text: str) -> timedelta:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return SHORTEST_PAUSE
    wait = instant.replace(tzinfo=instant.tzinfo or UTC) - datetime.now(UTC)
    return max(timedelta(seconds=1), min(wait, LONGEST_PAUSE))


def _object(text: str | None) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _percent(usage: Mapping[str, Any]) -> int:
    return max(_whole(usage.get(name)) for name in ("call_count", "total_time", "total_cputime"))


def _whole(value: Any) -> int:
    return int(min(value, 10**6)) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0
