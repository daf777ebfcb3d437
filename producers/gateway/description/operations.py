"""The addresses one by one, as OpenAPI has them."""

from typing import Any

from penstock.producers.gateway.description import examples
from penstock.schemas.api_key import Scope
from penstock.schemas.scheduled_post import PostState

Operation = dict[str, Any]

_PROBLEMS = {
    400: "what was sent can't be read",
    401: "no API key, or none of ours",
    403: "the key lacks the scope that the problem names, or the Host is none of this gateway's",
    404: "there is no such thing",
    405: "the address takes another method",
    408: "the body came too slowly",
    409: "a known id or key comes with other content, or its stream is on its way",
    412: "If-Match does not hold",
    413: "the body, or a part of it, is too long",
    415: "the body's type or packing is not taken",
    422: "what was sent is refused; `errors` says each fault",
    429: "a limit of requests is reached; Retry-After says when to come again",
    500: "a fault of the gateway",
    503: "something is away or full; Retry-After says when to come again",
}
_READ = (400, 401, 403, 404, 405, 422, 429, 500, 503)
_WRITE = (*_READ, 408, 409, 413, 415)


def _answers(good: dict[int, tuple[str, str | None]], problems: tuple[int, ...]) -> dict[str, Any]:
    told = {
        str(status): {"description": text, **({"content": _json(schema)} if schema else {})}
        for status, (text, schema) in good.items()
    }
    return told | {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(problems)}


def _json(schema: str, example: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"application/json": content | ({"example": example} if example is not None else {})}


def _parameter(place: str, name: str, told: str, schema: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = {"in": place, "name": name, "description": told, "schema": schema or {"type": "string"}, **more}
    return made | ({"required": True} if place == "path" else {})


_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,200}$"}
_UUID = {"type": "string", "format": "uuid"}
_ETAG = {"type": "string", "pattern": '^"v[0-9]{1,9}-[0-9a-f]{32}"$'}
_FORM_ID = _parameter("path", "form_id", "1 to 200 of A-Z a-z 0-9 . _ -", _NAME, example=examples.FORM_ID)
_BATCH_ID = _parameter(
    "path", "batch_id", "of a batch, or of a whole that was cut", _NAME, example=f"{examples.BATCH_KEY}-0001"
)
_POST_ID = _parameter("path", "post_id", "as its scheduling told it", _UUID, example=examples.POST_ID)
_JOB_ID = _parameter("path", "job_id", "as its enqueueing told it", _UUID, example=examples.JOB_ID)
_KEY = _parameter(
    "header",
    "Idempotency-Key",
    "what makes a resend the same request: 1 to 190 visible ASCII characters",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,190}$"},
    example=examples.BATCH_KEY,
)
_NUMBER = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_VERSION = _parameter("query", "version", "the latest if absent", _NUMBER)
_FORM_VERSION = _parameter("query", "form_version", "to judge by; the latest if absent", _NUMBER)
_DURABILITY = _parameter(
    "query",
    "durability",
    "`postgres`: accepted once PostgreSQL has it, too",
    {"enum": ["redis", "postgres"], "default": "redis"},
)
_NONE_MATCH = _parameter("header", "If-None-Match", "the ETag that was told last; 304 where it holds")
_MATCH = _parameter("header", "If-Match", "the post's ETag: change it only as it was then", _ETAG)
_LIMIT = _parameter(
    "query", "limit", "items of a page", {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
)
_CURSOR = _parameter("query", "cursor", "`next` of the page before")
_FILTERS = [
    _parameter("query", "owner", "whose posts", _NAME),
    _parameter("query", "account_id", "of one account", _UUID),
    _parameter("query", "platform", "of one platform", _NAME),
    _parameter("query", "state", "in one state", {"enum": [str(state) for state in PostState]}),
]
_SUBMISSIONS_TOLD = (
    "One document, or a stream of one row a line (`application/x-ndjson`) of any length, plain or packed with gzip."
    " Rows are cut into batches of at most 1,000; those of a stream are accepted while it comes. The same body with the"
    " same Idempotency-Key adds nothing and is answered the same. A problem that ends a stream says in `accepted` what"
    " was accepted before it: mend what is wrong and send all of it again with the same key, and the rest is added."
    " Without a key the answer tells a new one; whoever gets no answer does not know it, so send a key with what you"
    " might send again."
)


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _operation(name: str, summary: str, scope: Scope | None, **members: Any) -> Operation:
    security = [] if scope is None else [{"key": [str(scope)]}]
    return {"operationId": name, "summary": summary, "security": security, **members}


def paths() -> dict[str, dict[str, Operation]]:
    """Operations by path and method."""
    return {**_forms(), **_batches(), **_posts(), **_others()}


def _forms() -> dict[str, dict[str, Operation]]:
    rows = {
        **_json("Submissions", examples.SUBMISSIONS),
        "application/x-ndjson": {"schema": {"type": "string"}, "example": examples.LINES},
    }
    return {
        "/v1/forms/{form_id}": {
            "put": _operation(
                "putForm",
                "Make a definition the latest version of a form",
                Scope.FORMS_WRITE,
                parameters=[_FORM_ID],
                requestBody=_body(_json("FormDefinition", examples.FORM)),
                responses=_answers({200: ("it was so", "AppliedForm"), 201: ("it is new", "AppliedForm")}, _WRITE),
            ),
            "get": _operation(
                "getForm",
                "A version of a form",
                Scope.FORMS_READ,
                parameters=[_FORM_ID, _VERSION, _NONE_MATCH],
                responses=_answers({200: ("the form", "Form"), 304: ("as before", None)}, _READ),
            ),
        },
        "/v1/forms/{form_id}/submissions": {
            "post": _operation(
                "postSubmissions",
                "Send answers to a form",
                Scope.SUBMISSIONS_WRITE,
                description=_SUBMISSIONS_TOLD,
                parameters=[_FORM_ID, _KEY, _FORM_VERSION, _DURABILITY],
                requestBody=_body(rows),
                responses=_answers({202: ("accepted", "Accepted")}, _WRITE),
            )
        },
    }


def _batches() -> dict[str, dict[str, Operation]]:
    return {
        "/v1/batches/{batch_id}": {
            "get": _operation(
                "getBatch",
                "Where a batch or a whole stands",
                Scope.STATUS_READ,
                parameters=[_BATCH_ID, _NONE_MATCH],
                responses=_answers({200: ("the batch", "Batch"), 304: ("as before", None)}, _READ),
            )
        },
        "/v1/batches/{batch_id}/rejections": {
            "get": _operation(
                "getRejections",
                "The rejected rows of a batch or a whole, with all their faults",
                Scope.STATUS_READ,
                parameters=[_BATCH_ID, _CURSOR, _LIMIT, _NONE_MATCH],
                responses=_answers({200: ("a page", "Rejections"), 304: ("as before", None)}, _READ),
            )
        },
    }


def _posts() -> dict[str, dict[str, Operation]]:
    return {
        "/v1/posts": {
            "post": _operation(
                "postPost",
                "Schedule a post",
                Scope.POSTS_WRITE,
                parameters=[_KEY],
                requestBody=_body(_json("NewPost", examples.POST)),
                responses=_answers({202: ("accepted", "AcceptedPost")}, _WRITE),
            ),
            "get": _operation(
                "listPosts",
                "Posts by their instants",
                Scope.POSTS_READ,
                parameters=[*_FILTERS, _CURSOR, _LIMIT, _NONE_MATCH],
                responses=_answers({200: ("a page", "Posts"), 304: ("as before", None)}, _READ),
            ),
        },
        "/v1/posts/{post_id}": {
            "get": _operation(
                "getPost",
                "A post",
                Scope.POSTS_READ,
                parameters=[_POST_ID, _NONE_MATCH],
                responses=_answers({200: ("the post", "Post"), 304: ("as before", None)}, _READ),
            ),
            "patch": _operation(
                "patchPost",
                "Reschedule a post; one that has expired, is held or is dead gets a new life by it",
                Scope.POSTS_WRITE,
                parameters=[_POST_ID, _MATCH],
                requestBody=_body(_json("PostChange", examples.CHANGE)),
                responses=_answers({200: ("changed", "ChangedPost")}, (*_WRITE, 412)),
            ),
            "delete": _operation(
                "deletePost",
                "Cancel a post",
                Scope.POSTS_WRITE,
                parameters=[_POST_ID, _MATCH],
                responses=_answers({200: ("cancelled", "ChangedPost")}, (*_READ, 409, 412)),
            ),
        },
    }


def _others() -> dict[str, dict[str, Operation]]:
    return {
        "/v1/jobs/{job_id}": {
            "get": _operation(
                "getJob",
                "Where a job stands, what blocks it, and when it can run",
                Scope.STATUS_READ,
                parameters=[_JOB_ID, _NONE_MATCH],
                responses=_answers({200: ("the job", "Job"), 304: ("as before", None)}, _READ),
            )
        },
        "/health/live": {
            "get": _operation(
                "live", "Whether the process answers", None, responses=_answers({200: ("it does", "Health")}, (405,))
            )
        },
        "/health/ready": {
            "get": _operation(
                "ready",
                "Whether jobs can be accepted",
                None,
                responses=_answers({200: ("they can", "Health"), 503: ("they can't now", "Health")}, (405,)),
            )
        },
    }


def problem_responses() -> dict[str, Any]:
    """The answers that several addresses have in common, by name."""
    return {f"Problem{status}": _problem(text) for status, text in _PROBLEMS.items()}


def _problem(text: str) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": examples.PROBLEM}
    return {"description": text, "content": {"application/problem+json": content}}
