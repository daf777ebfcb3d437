"""One request for each address, as the description shows it; a test sends each of them in this order."""

from typing import Any

FORM_ID = "customer-poll"
BATCH_KEY = "poll-2026-11-21"
ACCOUNT_ID = "0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a11"
POST_ID = "0198c3f2-5f0e-7c5e-9d0e-6f5b8f0c4a12"
JOB_ID = "9d4c1f02-6a77-8b0a-a1a5-0a4f5f2f7c10"

FORM: dict[str, Any] = {
    "title": "How did we do?",
    "timezone": "Europe/Berlin",
    "questions": [
        {"id": "name", "text": "Your name", "type": "text", "required": True},
        {"id": "stars", "text": "Stars", "type": "rating", "max": 5},
    ],
}
SUBMISSIONS: dict[str, Any] = {
    "submissions": [
        {"answers": {"name": "Ada", "stars": 5}},
        {"id": "till-7/381", "submitted_at": "2026-11-21T08:00:00Z", "answers": {"name": "Grace", "stars": 4}},
    ]
}
LINES = (
    '{"answers":{"name":"Ada","stars":5}}\n'
    '{"id":"till-7/382","submitted_at":"2026-11-21T08:01:00Z","answers":{"name":"Grace","stars":4}}\n'
)
POST: dict[str, Any] = {
    "account_id": ACCOUNT_ID,
    "due_at": "2027-01-01T09:00:00+01:00",
    "content": {
        "text": "A happy new year!",
        "media": [{"url": "https://cdn.example.org/fireworks.jpg", "alt": "Fireworks over a river"}],
    },
    "lateness_policy": "hold",
    "grace_seconds": 3600,
}
CHANGE: dict[str, Any] = {"due_at": "2027-01-01T10:00:00+01:00"}
ACCEPTED: dict[str, Any] = {
    "form_id": FORM_ID,
    "idempotency_key": BATCH_KEY,
    "base_batch_id": BATCH_KEY,
    "durability": "redis",
    "rows": 2,
    "batch_count": 1,
    "batches": [{"batch_id": f"{BATCH_KEY}-0001", "first_position": 0, "rows": 2, "job_id": JOB_ID}],
    "status_url": f"/v1/batches/{BATCH_KEY}-0001",
}
PROBLEM: dict[str, Any] = {
    "type": "urn:penstock:error:SUBMISSION_UNDECODABLE",
    "title": "A row's bytes are not UTF-8 JSON.",
    "status": 400,
    "detail": "line 1,502: it is not JSON: expecting value at character 17",
    "code": "SUBMISSION_UNDECODABLE",
    "remedy": "Correct the row's encoding; its bytes are kept as sent.",
    "instance": f"/v1/forms/{FORM_ID}/submissions",
    "request_id": "f4b1d0c2",
    "errors": [{"code": "SUBMISSION_UNDECODABLE", "message": "line 1,502: it is not JSON", "line": 1502}],
    "accepted": {**ACCEPTED, "rows": 1_000},
}
