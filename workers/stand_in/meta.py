"""What Instagram and Facebook have in common here: tokens, usage headers, times."""

import json
from datetime import datetime
from typing import Any

from penstock.workers.stand_in.exchange import Request, Response
from penstock.workers.stand_in.faults import meta_error
from penstock.workers.stand_in.world import World

#: What is wrong with a token -> subcode of 190.
_TOKEN_SUBCODES = {"expired": 463, "revoked": 460}


def token_error(world: World, request: Request) -> Response | None:
    """Why the token is refused; None where it is not."""
    if not request.token:
        return meta_error(190)
    wrong = world.knobs.tokens.get(request.token)
    return meta_error(190, _TOKEN_SUBCODES[wrong]) if wrong in _TOKEN_SUBCODES else None


def with_usage(world: World, account: str, kind: str, response: Response) -> Response:
    """The response with Meta's usage headers, where they are switched on: rarely used apps get none."""
    percent = world.knobs.usage_percent
    if percent is None:
        return response
    counts: dict[str, Any] = {"call_count": percent, "total_time": percent // 2, "total_cputime": percent // 2}
    business = {account: [{"type": kind, **counts, "estimated_time_to_regain_access": world.knobs.regain_minutes}]}
    headers = {"X-App-Usage": json.dumps(counts), "X-Business-Use-Case-Usage": json.dumps(business)}
    return Response(response.status, response.body, {**response.headers, **headers})


def refreshed(world: World, token: str) -> Response:
    """A new long-lived token in the place of one that is still valid and old enough."""
    wrong = world.knobs.tokens.get(token)
    if wrong in _TOKEN_SUBCODES:
        return meta_error(190, _TOKEN_SUBCODES[wrong])
    if wrong == "young":
        return meta_error(100)
    name = token.rsplit(".", 1)[0]
    return Response(body={"access_token": f"{name}.{world.new_id()}", "token_type": "bearer", "expires_in": 5_183_944})


def written(instant: datetime) -> str:
    """An instant as the Graph interface writes it."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S+0000")
