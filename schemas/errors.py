"""Every error that Penstock tells anyone: a stable code, what happened, and what to do about it.

Codes are data at rest (rejections, dead letters, alerts): a code is never renamed or given another meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """The stable codes, by family. `CATALOGUE` holds the cause and remedy of each."""

    ACCOUNT_CONFLICT = "ACCOUNT_CONFLICT"
    ACCOUNT_DISABLED = "ACCOUNT_DISABLED"
    ACCOUNT_INVALID_PLATFORM = "ACCOUNT_INVALID_PLATFORM"
    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    ACCOUNT_TOKEN_EXPIRED = "ACCOUNT_TOKEN_EXPIRED"
    ACCOUNT_TOKEN_UNREADABLE = "ACCOUNT_TOKEN_UNREADABLE"
    ANSWER_BOOLEAN_INVALID = "ANSWER_BOOLEAN_INVALID"
    ANSWER_DATE_INVALID = "ANSWER_DATE_INVALID"
    ANSWER_DATETIME_INVALID = "ANSWER_DATETIME_INVALID"
    ANSWER_EMAIL_INVALID = "ANSWER_EMAIL_INVALID"
    ANSWER_FILE_INVALID = "ANSWER_FILE_INVALID"
    ANSWER_NUMBER_INVALID = "ANSWER_NUMBER_INVALID"
    ANSWER_NUMBER_RANGE = "ANSWER_NUMBER_RANGE"
    ANSWER_OPTION_DUPLICATE = "ANSWER_OPTION_DUPLICATE"
    ANSWER_OPTION_UNKNOWN = "ANSWER_OPTION_UNKNOWN"
    ANSWER_PHONE_INVALID = "ANSWER_PHONE_INVALID"
    ANSWER_RATING_INVALID = "ANSWER_RATING_INVALID"
    ANSWER_REQUIRED = "ANSWER_REQUIRED"
    ANSWER_TEXT_UNSTORABLE = "ANSWER_TEXT_UNSTORABLE"
    ANSWER_TIME_INVALID = "ANSWER_TIME_INVALID"
    ANSWER_TOO_LONG = "ANSWER_TOO_LONG"
    ANSWER_TYPE_INVALID = "ANSWER_TYPE_INVALID"
    ANSWER_UNKNOWN_QUESTION = "ANSWER_UNKNOWN_QUESTION"
    AUTH_CREDENTIAL_INVALID = "AUTH_CREDENTIAL_INVALID"
    AUTH_CSRF_INVALID = "AUTH_CSRF_INVALID"
    AUTH_FORBIDDEN = "AUTH_FORBIDDEN"
    AUTH_KEY_ENDED = "AUTH_KEY_ENDED"
    AUTH_KEY_NOT_FOUND = "AUTH_KEY_NOT_FOUND"
    AUTH_REQUIRED = "AUTH_REQUIRED"
    AUTH_SCOPE_MISSING = "AUTH_SCOPE_MISSING"
    AUTH_TOKEN_EXPIRED = "AUTH_TOKEN_EXPIRED"
    AUTH_TOKEN_INVALID = "AUTH_TOKEN_INVALID"
    BATCH_CONFLICT = "BATCH_CONFLICT"
    BATCH_EMPTY = "BATCH_EMPTY"
    BATCH_ID_INVALID = "BATCH_ID_INVALID"
    BATCH_NOT_FOUND = "BATCH_NOT_FOUND"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    CONFIG_INVALID = "CONFIG_INVALID"
    FORM_ID_INVALID = "FORM_ID_INVALID"
    FORM_INVALID = "FORM_INVALID"
    FORM_NOT_FOUND = "FORM_NOT_FOUND"
    FORM_VERSION_NOT_FOUND = "FORM_VERSION_NOT_FOUND"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    JOB_CONFLICT = "JOB_CONFLICT"
    JOB_DEAD_LETTER_GROUP_NOT_FOUND = "JOB_DEAD_LETTER_GROUP_NOT_FOUND"
    JOB_DEAD_LETTER_NOT_FOUND = "JOB_DEAD_LETTER_NOT_FOUND"
    JOB_DEADLINE_EXCEEDED = "JOB_DEADLINE_EXCEEDED"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_PAYLOAD_INVALID = "JOB_PAYLOAD_INVALID"
    JOB_POISON = "JOB_POISON"
    JOB_REPLAY_ENDED = "JOB_REPLAY_ENDED"
    JOB_REPLAY_NOT_FOUND = "JOB_REPLAY_NOT_FOUND"
    JOB_REPLAY_STOPPED = "JOB_REPLAY_STOPPED"
    JOB_TIME_LIMIT = "JOB_TIME_LIMIT"
    JOB_UNACCOUNTED = "JOB_UNACCOUNTED"
    JOB_UNKNOWN_KIND = "JOB_UNKNOWN_KIND"
    PLATFORM_ACCOUNT_RESTRICTED = "PLATFORM_ACCOUNT_RESTRICTED"
    PLATFORM_API_ERROR = "PLATFORM_API_ERROR"
    PLATFORM_API_TIMEOUT = "PLATFORM_API_TIMEOUT"
    PLATFORM_HANDLE_EXPIRED = "PLATFORM_HANDLE_EXPIRED"
    PLATFORM_MEDIA_UNREACHABLE = "PLATFORM_MEDIA_UNREACHABLE"
    PLATFORM_NOT_READY = "PLATFORM_NOT_READY"
    PLATFORM_OUTCOME_UNKNOWN = "PLATFORM_OUTCOME_UNKNOWN"
    PLATFORM_PERMISSION_DENIED = "PLATFORM_PERMISSION_DENIED"
    PLATFORM_TOKEN_INVALID = "PLATFORM_TOKEN_INVALID"
    PLATFORM_UNAVAILABLE = "PLATFORM_UNAVAILABLE"
    POST_CHANGED = "POST_CHANGED"
    POST_CONFLICT = "POST_CONFLICT"
    POST_DUPLICATE = "POST_DUPLICATE"
    POST_EMPTY = "POST_EMPTY"
    POST_EXPIRED = "POST_EXPIRED"
    POST_MEDIA_ADDRESS_REFUSED = "POST_MEDIA_ADDRESS_REFUSED"
    POST_MEDIA_INVALID = "POST_MEDIA_INVALID"
    POST_NOT_FOUND = "POST_NOT_FOUND"
    POST_OPTION_INVALID = "POST_OPTION_INVALID"
    POST_PLATFORM_ERROR = "POST_PLATFORM_ERROR"
    POST_SCHEDULE_INVALID = "POST_SCHEDULE_INVALID"
    POST_STATE_INVALID = "POST_STATE_INVALID"
    POST_TEXT_INVALID = "POST_TEXT_INVALID"
    POST_TEXT_TOO_LONG = "POST_TEXT_TOO_LONG"
    POST_TOO_LATE = "POST_TOO_LATE"
    POST_UNKNOWN_OUTCOME = "POST_UNKNOWN_OUTCOME"
    QUEUE_FULL = "QUEUE_FULL"
    QUEUE_LAYOUT_NEWER = "QUEUE_LAYOUT_NEWER"
    QUEUE_NOT_CONFIRMED = "QUEUE_NOT_CONFIRMED"
    QUEUE_NOT_FOUND = "QUEUE_NOT_FOUND"
    QUEUE_OUT_OF_MEMORY = "QUEUE_OUT_OF_MEMORY"
    QUEUE_REFUSED = "QUEUE_REFUSED"
    QUEUE_UNAVAILABLE = "QUEUE_UNAVAILABLE"
    QUEUE_UNSAFE = "QUEUE_UNSAFE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    REQUEST_BODY_TOO_LARGE = "REQUEST_BODY_TOO_LARGE"
    REQUEST_FILE_INVALID = "REQUEST_FILE_INVALID"
    REQUEST_FILE_NOT_FOUND = "REQUEST_FILE_NOT_FOUND"
    REQUEST_FILTER_INVALID = "REQUEST_FILTER_INVALID"
    REQUEST_HOST_UNKNOWN = "REQUEST_HOST_UNKNOWN"
    REQUEST_IDEMPOTENCY_KEY_INVALID = "REQUEST_IDEMPOTENCY_KEY_INVALID"
    REQUEST_IN_FLIGHT = "REQUEST_IN_FLIGHT"
    REQUEST_INVALID = "REQUEST_INVALID"
    REQUEST_MEDIA_TYPE_UNKNOWN = "REQUEST_MEDIA_TYPE_UNKNOWN"
    REQUEST_METHOD_NOT_ALLOWED = "REQUEST_METHOD_NOT_ALLOWED"
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    REQUEST_OVERLOADED = "REQUEST_OVERLOADED"
    REQUEST_PERSON_NOT_FOUND = "REQUEST_PERSON_NOT_FOUND"
    REQUEST_TENANT_INVALID = "REQUEST_TENANT_INVALID"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    REQUEST_TOO_SLOW = "REQUEST_TOO_SLOW"
    REQUEST_UNANSWERED = "REQUEST_UNANSWERED"
    REQUEST_USAGE = "REQUEST_USAGE"
    STORAGE_ARCHIVE_DAMAGED = "STORAGE_ARCHIVE_DAMAGED"
    STORAGE_ARCHIVE_FAILED = "STORAGE_ARCHIVE_FAILED"
    STORAGE_ARCHIVE_NOT_FOUND = "STORAGE_ARCHIVE_NOT_FOUND"
    STORAGE_AUDIT_BROKEN = "STORAGE_AUDIT_BROKEN"
    STORAGE_BACKUP_DAMAGED = "STORAGE_BACKUP_DAMAGED"
    STORAGE_BACKUP_DIFFERS = "STORAGE_BACKUP_DIFFERS"
    STORAGE_BACKUP_FAILED = "STORAGE_BACKUP_FAILED"
    STORAGE_BACKUP_KEY_UNKNOWN = "STORAGE_BACKUP_KEY_UNKNOWN"
    STORAGE_BACKUP_NOT_FOUND = "STORAGE_BACKUP_NOT_FOUND"
    STORAGE_BACKUP_RUNNING = "STORAGE_BACKUP_RUNNING"
    STORAGE_BACKUP_TARGET_REFUSED = "STORAGE_BACKUP_TARGET_REFUSED"
    STORAGE_BACKUP_TOOL_MISSING = "STORAGE_BACKUP_TOOL_MISSING"
    STORAGE_CONFLICT = "STORAGE_CONFLICT"
    STORAGE_EMBEDDED_FAILED = "STORAGE_EMBEDDED_FAILED"
    STORAGE_MIGRATION_CHANGED = "STORAGE_MIGRATION_CHANGED"
    STORAGE_MIGRATION_FAILED = "STORAGE_MIGRATION_FAILED"
    STORAGE_MIGRATION_INCOMPLETE = "STORAGE_MIGRATION_INCOMPLETE"
    STORAGE_MIGRATION_INVALID = "STORAGE_MIGRATION_INVALID"
    STORAGE_MIGRATION_LOCKED = "STORAGE_MIGRATION_LOCKED"
    STORAGE_PERMISSION_DENIED = "STORAGE_PERMISSION_DENIED"
    STORAGE_REFUSED = "STORAGE_REFUSED"
    STORAGE_RIGHTS_DIFFER = "STORAGE_RIGHTS_DIFFER"
    STORAGE_SCHEMA_OUTDATED = "STORAGE_SCHEMA_OUTDATED"
    STORAGE_TIMEOUT = "STORAGE_TIMEOUT"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    SUBMISSION_CORRECTION_INVALID = "SUBMISSION_CORRECTION_INVALID"
    SUBMISSION_ERASURE_RUNNING = "SUBMISSION_ERASURE_RUNNING"
    SUBMISSION_ID_INVALID = "SUBMISSION_ID_INVALID"
    SUBMISSION_INVALID = "SUBMISSION_INVALID"
    SUBMISSION_NOT_FOUND = "SUBMISSION_NOT_FOUND"
    SUBMISSION_TIME_INVALID = "SUBMISSION_TIME_INVALID"
    SUBMISSION_TIME_RANGE = "SUBMISSION_TIME_RANGE"
    SUBMISSION_TIME_REQUIRED = "SUBMISSION_TIME_REQUIRED"
    SUBMISSION_TOO_LARGE = "SUBMISSION_TOO_LARGE"
    SUBMISSION_UNDECODABLE = "SUBMISSION_UNDECODABLE"


@dataclass(frozen=True, slots=True)
class Documentation:
    """Why a code occurs and what its reader can do."""

    cause: str
    remedy: str


class PenstockError(Exception):
    """The base of every error that Penstock raises on purpose.

    Attributes:
        code: the stable code.
        message: what happened, and to which thing. Never holds answers, post texts, tokens or keys.
        remedy: what to do about it; the catalogue's unless the raiser knows better.
        details: further facts as JSON values (all faults of a form, the line of a file...).
    """

    def __init__(
        self, code: Code, message: str, *, remedy: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy if remedy is not None else CATALOGUE[code].remedy
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The error as a JSON object: `{code, message, remedy}` and `details` where there are any."""
        body: dict[str, Any] = {"code": str(self.code), "message": self.message, "remedy": self.remedy}
        return body | {"details": self.details} if self.details else body


class InvalidInputError(PenstockError):
    """Raised when what the caller gave can't be accepted as it is; sending it again changes nothing."""


class NotFoundError(PenstockError):
    """Raised when the thing that the caller named is not there."""


class ConflictError(PenstockError):
    """Raised when a known id comes with other content."""


class UnavailableError(PenstockError):
    """Raised when a dependency does not answer, or takes no more for now; the same call may succeed later.

    Attributes:
        retry_after: when it makes sense to try again, counted from now; None where nobody knows.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        remedy: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(code, message, remedy=remedy, details=details)
        self.retry_after = retry_after


CATALOGUE: Mapping[Code, Documentation] = {
    Code.ACCOUNT_CONFLICT: Documentation(
        "The tenant has that account of the platform already.",
        "Use the account that is there: penstock accounts list. With new tokens: penstock accounts reauthorize.",
    ),
    Code.ACCOUNT_DISABLED: Documentation(
        "An operator took the account out of use; its posts wait.",
        "Enable the account, or cancel its posts.",
    ),
    Code.ACCOUNT_INVALID_PLATFORM: Documentation(
        "There is no platform of that name.", "Use one of the platforms that the message lists."
    ),
    Code.ACCOUNT_NOT_FOUND: Documentation(
        "No account of that id is known to this tenant.",
        "See: penstock accounts list.",
    ),
    Code.ACCOUNT_TOKEN_EXPIRED: Documentation(
        "The platform takes the account's token no more; only a person can authorise it anew. Its posts wait.",
        "Authorise the account: penstock accounts reauthorize. Its posts then go out in their order.",
    ),
    Code.ACCOUNT_TOKEN_UNREADABLE: Documentation(
        "An account's token is encrypted with a key that this process does not have, or was changed since.",
        "Add the key that the message names to PENSTOCK_TOKEN_KEYS, or authorise the account anew.",
    ),
    Code.ANSWER_BOOLEAN_INVALID: Documentation(
        "A boolean or checkbox answer is neither true nor false.",
        "Send true or false, or one of the strings true, false, yes, no.",
    ),
    Code.ANSWER_DATE_INVALID: Documentation(
        "A date is not of the form YYYY-MM-DD or is not in the calendar.",
        "Send an existing day as YYYY-MM-DD.",
    ),
    Code.ANSWER_DATETIME_INVALID: Documentation(
        "A datetime is not RFC 3339, or names a local time that does not exist in the form's time zone.",
        "Send RFC 3339 with an offset, such as 2026-03-29T02:30:00+01:00.",
    ),
    Code.ANSWER_EMAIL_INVALID: Documentation(
        "An e-mail address is not valid.", "Correct the address; nothing is looked up in DNS."
    ),
    Code.ANSWER_FILE_INVALID: Documentation(
        "A file answer is not a reference {url, name, size, content_type, sha256?} with an https address.",
        "Upload the file to your own storage and send its reference.",
    ),
    Code.ANSWER_NUMBER_INVALID: Documentation(
        "A number is neither a JSON number nor a plain decimal number in a string.",
        "Send digits with a decimal point, without currency or thousands separators.",
    ),
    Code.ANSWER_NUMBER_RANGE: Documentation(
        "A number is outside min and max, has over 100 significant digits, or is 1e308 or more.",
        "Send a number within the bounds that the message names.",
    ),
    Code.ANSWER_OPTION_DUPLICATE: Documentation(
        "A list of choices names the same option twice.", "Name each option once."
    ),
    Code.ANSWER_OPTION_UNKNOWN: Documentation(
        "An answer is none of the question's options.",
        "Send one of the options as the form writes them, or apply a form version that has the option.",
    ),
    Code.ANSWER_PHONE_INVALID: Documentation(
        "A telephone number is not valid in the question's or form's region.",
        "Send the number with its country code, such as +49 30 123456.",
    ),
    Code.ANSWER_RATING_INVALID: Documentation(
        "A rating is not a whole number from 1 to the question's max.",
        "Send a whole number within the scale.",
    ),
    Code.ANSWER_REQUIRED: Documentation(
        "A required question has no answer; an empty string or list is no answer.",
        "Answer the question, or apply a form version that does not require it.",
    ),
    Code.ANSWER_TEXT_UNSTORABLE: Documentation(
        "A text holds U+0000 or an unpaired surrogate, which PostgreSQL's jsonb can't store.",
        "Remove the character; it is usually the trace of a broken export.",
    ),
    Code.ANSWER_TIME_INVALID: Documentation(
        "A time is not of the form HH:MM or HH:MM:SS, or is not on the clock.", "Send 00:00 to 23:59:59."
    ),
    Code.ANSWER_TOO_LONG: Documentation(
        "A text is longer than the question allows (1,000 characters for text, 10,000 for textarea).",
        "Shorten the text, or give the question a larger max_length.",
    ),
    Code.ANSWER_TYPE_INVALID: Documentation(
        "An answer has another JSON type than its question wants.",
        "Send the JSON type that the message names.",
    ),
    Code.ANSWER_UNKNOWN_QUESTION: Documentation(
        "An answer names a question that the form version does not have.",
        "Correct the question id, or apply a form version that has the question.",
    ),
    Code.AUTH_CREDENTIAL_INVALID: Documentation(
        "A name and token that were given at a log-in don't belong together, or a token is none of ours.",
        "Use the token as `penstock sidecar credential` printed it, or make another one.",
    ),
    Code.AUTH_CSRF_INVALID: Documentation(
        "A browser's request lacks the token of its page, or has another page's.",
        "Load the page again and repeat what you did; programs log in with `Authorization: Bearer`.",
    ),
    Code.AUTH_FORBIDDEN: Documentation(
        "Whoever asks is known, and has not the role for this.",
        "Ask somebody with the role that the message names.",
    ),
    Code.AUTH_KEY_ENDED: Documentation(
        "An API key that was revoked, has expired or was rotated before can't be rotated.",
        "Make a new one: penstock keys create.",
    ),
    Code.AUTH_KEY_NOT_FOUND: Documentation(
        "No API key has this id or prefix.",
        "See: penstock keys list --all.",
    ),
    Code.AUTH_REQUIRED: Documentation(
        "Nobody is logged in, and what is asked for is not shown to everybody.",
        "Log in at /log-in, or send `Authorization: Bearer` with a token.",
    ),
    Code.AUTH_SCOPE_MISSING: Documentation(
        "The API key is good, and lacks the scope that this needs.",
        "Use a key with the scope that the message names; an operator makes one by: penstock keys create --scope.",
    ),
    Code.AUTH_TOKEN_EXPIRED: Documentation(
        "The API key was good until an instant that has passed.",
        "Use the key that replaces it; an operator makes one by: penstock keys create.",
    ),
    Code.AUTH_TOKEN_INVALID: Documentation(
        "The API key is none of ours, or was revoked.",
        "Use the key as it was printed when it was made, or have an operator make another one: penstock keys create.",
    ),
    Code.BATCH_CONFLICT: Documentation(
        "The batch id is known with other content, another form or another batch size.",
        "Send the same content with the same settings, or use a new batch id.",
    ),
    Code.BATCH_EMPTY: Documentation("A batch holds no submission.", "Send at least one submission."),
    Code.BATCH_ID_INVALID: Documentation(
        "A batch id is not 1 to 200 letters, digits, dots, underscores or hyphens.",
        "Choose an id of these characters.",
    ),
    Code.BATCH_NOT_FOUND: Documentation("No batch of that id is known to this tenant.", "Check the id and the tenant."),
    Code.BATCH_TOO_LARGE: Documentation(
        "A batch holds more rows or more bytes than its limit.",
        "Send smaller batches; `penstock submit --batch-size` and the client's submit cut them for you.",
    ),
    Code.CIRCUIT_OPEN: Documentation(
        "What is behind the circuit failed too often, or an operator opened it; for now no call is let through.",
        "Nothing: jobs wait until it lets calls in again. See: penstock circuit list.",
    ),
    Code.CONFIG_INVALID: Documentation(
        "One or more settings are missing or wrong.",
        "Correct each named setting; docs/configuration.md lists all.",
    ),
    Code.FORM_ID_INVALID: Documentation(
        "A form id is not 1 to 200 letters, digits, dots, underscores or hyphens.",
        "Choose an id of these characters.",
    ),
    Code.FORM_INVALID: Documentation(
        "A form definition breaks one or more rules.", "Correct each fault that the message lists."
    ),
    Code.FORM_NOT_FOUND: Documentation(
        "No form of that id is known to this tenant.", "Apply the form first: penstock forms apply FILE."
    ),
    Code.FORM_VERSION_NOT_FOUND: Documentation(
        "The form has no version of that number.", "Name an existing version, or none for the latest."
    ),
    Code.INTERNAL_ERROR: Documentation(
        "A fault of Penstock itself.", "Report it with the log line of the same time; nothing was lost."
    ),
    Code.JOB_CONFLICT: Documentation(
        "A job id or idempotency key is known with another payload.",
        "Send the payload that was sent first, or use a new key.",
    ),
    Code.JOB_DEAD_LETTER_GROUP_NOT_FOUND: Documentation(
        "No dead letter has this fingerprint.",
        "Check it; a group ends with its last letter, which retention removes once it is resolved.",
    ),
    Code.JOB_DEAD_LETTER_NOT_FOUND: Documentation(
        "No dead letter has this id.",
        "Check the id, which is not the job's; a resolved letter is removed after PENSTOCK_DEAD_RETENTION_DAYS.",
    ),
    Code.JOB_DEADLINE_EXCEEDED: Documentation(
        "A job was waiting longer than its deadline allows.", "See what held it, then requeue it."
    ),
    Code.JOB_NOT_FOUND: Documentation("No job of that id is known.", "Check the id."),
    Code.JOB_PAYLOAD_INVALID: Documentation(
        "A job's payload does not fit the schema of its kind.",
        "Correct the producer by the exported JSON Schema, then enqueue again.",
    ),
    Code.JOB_POISON: Documentation(
        "A job was running each time its worker died, as often as PENSTOCK_POISON_LIMIT allows.",
        "See what the workers died of (memory, a crash in C code), mend it, then requeue the job.",
    ),
    Code.JOB_REPLAY_ENDED: Documentation(
        "A replay that has ended can't be paused, resumed or cancelled.",
        "Start another one for the letters that are still open.",
    ),
    Code.JOB_REPLAY_NOT_FOUND: Documentation("No replay has this id.", "See: penstock dead replay list."),
    Code.JOB_REPLAY_STOPPED: Documentation(
        "A replay that a command waited for did not come to its end: it stopped, was paused or was cancelled.",
        "See the letters of its jobs that died again, mend the cause, then start another replay.",
    ),
    Code.JOB_TIME_LIMIT: Documentation(
        "An attempt took longer than its kind allows and was interrupted.",
        "Nothing at first: the job is retried. If it dies of this, make the job smaller or its kind's limit longer.",
    ),
    Code.JOB_UNACCOUNTED: Documentation(
        "A job is in no place or in two: Redis was changed by something else than Penstock, or lost what it had.",
        "See the jobs that penstock reconcile names, and docs/runbook.md; what came through the outbox and is gone"
        " from Redis is enqueued again by itself.",
    ),
    Code.JOB_UNKNOWN_KIND: Documentation(
        "No worker of this release knows the job's kind.",
        "Deploy a worker that has it, or correct the producer.",
    ),
    Code.PLATFORM_ACCOUNT_RESTRICTED: Documentation(
        "The platform holds the account itself back: a checkpoint, a lost role, a restriction.",
        "Have the account's owner put it right on the platform, then authorise the account again.",
    ),
    Code.PLATFORM_API_ERROR: Documentation(
        "A platform's interface answered with an error.",
        "See the status in the message. What may pass is tried again by itself; otherwise correct what was sent.",
    ),
    Code.PLATFORM_API_TIMEOUT: Documentation(
        "A platform's interface did not answer in time.",
        "Nothing: it is tried again. Look at the platform's status page if it lasts.",
    ),
    Code.PLATFORM_HANDLE_EXPIRED: Documentation(
        "What was prepared at the platform (a container, an upload session) is no longer there.",
        "Nothing: it is prepared anew, once it is certain that nothing was published by it.",
    ),
    Code.PLATFORM_MEDIA_UNREACHABLE: Documentation(
        "The platform, or Penstock for it, could not fetch a picture or video.",
        "See that the address answers without a login, then send the post again.",
    ),
    Code.PLATFORM_NOT_READY: Documentation(
        "The platform still works on what was prepared.",
        "Nothing: it is asked again in a moment.",
    ),
    Code.PLATFORM_OUTCOME_UNKNOWN: Documentation(
        "A publishing call has no answer that tells whether the post is there.",
        "Nothing at first: the post is looked up. If that can't tell, look at the account and settle it by hand.",
    ),
    Code.PLATFORM_PERMISSION_DENIED: Documentation(
        "The account gave Penstock no right to do this.",
        "Authorise the account again with every right that docs/platforms.md names.",
    ),
    Code.PLATFORM_TOKEN_INVALID: Documentation(
        "The platform refuses the account's token.",
        "Nothing if it can be refreshed; otherwise authorise the account again. Its posts wait.",
    ),
    Code.PLATFORM_UNAVAILABLE: Documentation(
        "A platform is away, or the way to it.",
        "Nothing: posts wait, and go on when it answers again.",
    ),
    Code.POST_CHANGED: Documentation(
        "The post is not the version that the caller has seen.",
        "Read the post again, then decide anew.",
    ),
    Code.POST_CONFLICT: Documentation(
        "The idempotency key is known with another post.",
        "Send the post that was sent first, or use a new key.",
    ),
    Code.POST_DUPLICATE: Documentation(
        "The platform refuses the post because the account has the same one already.",
        "Change the text, or cancel the post.",
    ),
    Code.POST_EMPTY: Documentation(
        "A post has neither text nor media nor link, or lacks what its platform demands.",
        "Add what the message names.",
    ),
    Code.POST_EXPIRED: Documentation(
        "A post could not be published within its grace, and its policy is to expire.",
        "Reschedule the post if it is still wanted.",
    ),
    Code.POST_MEDIA_ADDRESS_REFUSED: Documentation(
        "A media address is not plain https to a public host.",
        "Put the file where everybody can fetch it by https, and send that address.",
    ),
    Code.POST_MEDIA_INVALID: Documentation(
        "A picture or video breaks a rule of the platform: number, kind, format, size or shape.",
        "Change the media as the message says; nothing is cut or converted.",
    ),
    Code.POST_NOT_FOUND: Documentation(
        "No post of that id is known to this tenant.",
        "Check the id and the tenant.",
    ),
    Code.POST_OPTION_INVALID: Documentation(
        "An option of the post is unknown to its platform, or has a value that it does not take.",
        "Correct the option that the message names; docs/platforms.md lists them.",
    ),
    Code.POST_PLATFORM_ERROR: Documentation(
        "The platform refuses the post, and would each time.",
        "See the platform's code in the message, correct the post, and schedule it anew.",
    ),
    Code.POST_SCHEDULE_INVALID: Documentation(
        "A post is scheduled for an instant that can't be meant: it is too far ahead.",
        "Send the right instant, as RFC 3339 with an offset.",
    ),
    Code.POST_STATE_INVALID: Documentation(
        "The post is in a state in which this can't be done.",
        "See its state: penstock posts show ID; docs/posts.md tells what can be done in each.",
    ),
    Code.POST_TEXT_INVALID: Documentation(
        "A text has too many hashtags or mentions, or characters that its platform does not take.",
        "Change the text as the message says; nothing is cut.",
    ),
    Code.POST_TEXT_TOO_LONG: Documentation(
        "A text is longer than its platform takes.",
        "Shorten the text; nothing is cut.",
    ),
    Code.POST_TOO_LATE: Documentation(
        "The post is being published, or was: nothing about that can be changed any more.",
        "See what became of it: penstock posts show ID.",
    ),
    Code.POST_UNKNOWN_OUTCOME: Documentation(
        "Whether the post is live could not be found out, so it is not published again on a guess.",
        "Look at the account, then say that it is live, or have it published again.",
    ),
    Code.QUEUE_FULL: Documentation(
        "The queue, or the tenant's share of it, is at its limit of jobs or bytes; what is queued is worked off.",
        "Send the jobs that were refused again after the seconds that the error names; add workers, or raise"
        " PENSTOCK_QUEUE_LIMIT_JOBS and its like.",
    ),
    Code.QUEUE_LAYOUT_NEWER: Documentation(
        "A queue in Redis has the layout of a later release.",
        "Deploy the later release everywhere, or give this one a PENSTOCK_NAMESPACE of its own.",
    ),
    Code.QUEUE_NOT_CONFIRMED: Documentation(
        "Redis took the job, and no replica confirmed it in time: a failover now could lose it.",
        "Send it again with the same id or key; it is not run twice.",
    ),
    Code.QUEUE_NOT_FOUND: Documentation("There is no queue of that name.", "See: penstock queue list."),
    Code.QUEUE_OUT_OF_MEMORY: Documentation(
        "Redis is at its memory limit, or near it, and takes no new job; what is queued is still worked off.",
        "Send it again later; add workers or memory, or see what fills Redis.",
    ),
    Code.QUEUE_REFUSED: Documentation(
        "Redis refused the command (out of memory, read-only replica, no rights).",
        "See Redis's own message; nothing was enqueued by this call.",
    ),
    Code.QUEUE_UNAVAILABLE: Documentation(
        "Redis does not answer.",
        "Start Redis or correct REDIS_URL, then run the same call again: ids make it safe.",
    ),
    Code.QUEUE_UNSAFE: Documentation(
        "Redis is set up so that it may drop jobs: keys are evicted, or nothing is written to disk.",
        "Set maxmemory-policy noeviction and appendonly yes, or PENSTOCK_REDIS_CHECK=warn to accept the risk.",
    ),
    Code.RATE_LIMIT_EXCEEDED: Documentation(
        "A limit of calls in a time was reached, ours or another side's.",
        "Nothing: the job runs when the limit allows it, and no attempt is spent. Raise the limit if that is too late.",
    ),
    Code.REQUEST_BODY_TOO_LARGE: Documentation(
        "A request's body is longer than this address takes.",
        "Send less at once.",
    ),
    Code.REQUEST_FILE_INVALID: Documentation(
        "A file can't be read as what it should be; the message names the line.",
        "Correct the line; nothing of the file was sent.",
    ),
    Code.REQUEST_FILE_NOT_FOUND: Documentation("There is no such file.", "Check the path."),
    Code.REQUEST_FILTER_INVALID: Documentation(
        "A filter or cursor of a list is not of the form that it takes.",
        "Correct the parameter that the message names.",
    ),
    Code.REQUEST_HOST_UNKNOWN: Documentation(
        "A request names a host that this server does not stand for, as a page of another site would.",
        "Use 127.0.0.1 or localhost, or name the host in PENSTOCK_SIDECAR_HOSTS.",
    ),
    Code.REQUEST_IDEMPOTENCY_KEY_INVALID: Documentation(
        "The header Idempotency-Key is not of the form that it takes.",
        "Send 1 to 190 visible ASCII characters, such as a UUID, with or without double quotes around them.",
    ),
    Code.REQUEST_IN_FLIGHT: Documentation(
        "A stream with the same idempotency key is on its way, or was cut off a moment ago.",
        "Wait as long as Retry-After says, and send it again; what was accepted stays so.",
    ),
    Code.REQUEST_INVALID: Documentation(
        "A request's body or parameters are not of the form that this address takes.",
        "Correct what the message names; openapi.json (below /v1 of the gateway, /api/v1 of the sidecar) describes each"
        " address.",
    ),
    Code.REQUEST_MEDIA_TYPE_UNKNOWN: Documentation(
        "A request's body is of a type, or packed in a way, that this address does not take.",
        "Send the Content-Type that the message names; a body may be packed with gzip alone.",
    ),
    Code.REQUEST_METHOD_NOT_ALLOWED: Documentation(
        "This address takes another method.",
        "Use the method that the header Allow names.",
    ),
    Code.REQUEST_NOT_FOUND: Documentation(
        "There is nothing at this address.",
        "Check the address; /api/v1/openapi.json lists all.",
    ),
    Code.REQUEST_OVERLOADED: Documentation(
        "The server has as many requests, streams or bytes at once as it may, or is about to stop.",
        "Wait as long as Retry-After says, and send it again with the same idempotency key.",
    ),
    Code.REQUEST_PERSON_NOT_FOUND: Documentation(
        "There is no request of this id about a person's data.", "See: penstock person list."
    ),
    Code.REQUEST_TENANT_INVALID: Documentation(
        "A tenant is not 1 to 200 letters, digits, dots, underscores or hyphens.",
        "Choose a name of these characters.",
    ),
    Code.REQUEST_TIMEOUT: Documentation(
        "The wait ended before the work did; the work goes on.",
        "Run the same command again: it is the same work and picks up where it stands.",
    ),
    Code.REQUEST_TOO_SLOW: Documentation(
        "A request's body came too slowly, or not at all.",
        "Send it again with the same idempotency key; what was accepted stays so.",
    ),
    Code.REQUEST_UNANSWERED: Documentation(
        "The gateway, or a proxy before it, does not answer, or the connection broke before the answer was there.",
        "Run the same call again with the same key or batch id: it is the same work. See whether the address is right.",
    ),
    Code.REQUEST_USAGE: Documentation("The command line is not usable.", "See --help of the command."),
    Code.STORAGE_ARCHIVE_DAMAGED: Documentation(
        "An archive is not what its manifest says: bytes were lost or changed.",
        "Take the archive from its copy. Where it was being made, what it holds is still in the database.",
    ),
    Code.STORAGE_ARCHIVE_FAILED: Documentation(
        "An archive can't be written to or read from PENSTOCK_ARCHIVE_DIR; nothing was dropped.",
        "See that the folder is there, is this process's own and has room.",
    ),
    Code.STORAGE_ARCHIVE_NOT_FOUND: Documentation("There is no such archive.", "See: penstock archive list."),
    Code.STORAGE_AUDIT_BROKEN: Documentation(
        "The chain over what operators did is not whole: somebody changed, removed or added rows.",
        "Run `penstock audit verify` with the anchors that you kept elsewhere, and follow docs/audit.md.",
    ),
    Code.STORAGE_BACKUP_DAMAGED: Documentation(
        "A backup's files are not what was written: bytes changed, missing, or in another place.",
        "Use another backup (penstock backup list), or a copy of this one; see what changed the file.",
    ),
    Code.STORAGE_BACKUP_DIFFERS: Documentation(
        "A restored database is not what the backup was made of.",
        "The details name every difference. Where nobody changed the database since, use another backup.",
    ),
    Code.STORAGE_BACKUP_FAILED: Documentation(
        "pg_dump or pg_restore did not end well; nothing of its work is kept.",
        "Correct the cause that the message names, then run the command again.",
    ),
    Code.STORAGE_BACKUP_KEY_UNKNOWN: Documentation(
        "A backup is encrypted with a key that this process does not have.",
        "Add the key that the message names to PENSTOCK_BACKUP_KEY, after the current one.",
    ),
    Code.STORAGE_BACKUP_NOT_FOUND: Documentation("There is no such backup.", "See: penstock backup list."),
    Code.STORAGE_BACKUP_RUNNING: Documentation(
        "Another process is making a backup in the same folder.", "Wait for it, then run the command again."
    ),
    Code.STORAGE_BACKUP_TARGET_REFUSED: Documentation(
        "A backup is restored into nothing but an empty database of the same PostgreSQL or a newer one.",
        "Make a new database (createdb --template=template0) and name it in PENSTOCK_BACKUP_TARGET_DATABASE_URL.",
    ),
    Code.STORAGE_BACKUP_TOOL_MISSING: Documentation(
        "There are no pg_dump and pg_restore here that are at least as new as the server.",
        "Install the client programs of the server's version, or name their folder in PENSTOCK_BACKUP_TOOLS.",
    ),
    Code.STORAGE_CONFLICT: Documentation(
        "PostgreSQL rolled a transaction back for another one's sake, again and again.",
        "Nothing: the job is retried.",
    ),
    Code.STORAGE_EMBEDDED_FAILED: Documentation(
        "An embedded server does not start.",
        "Read the log that the message names; set DATABASE_URL and REDIS_URL to use servers of your own.",
    ),
    Code.STORAGE_MIGRATION_CHANGED: Documentation(
        "A migration file differs from what was applied, or is gone.",
        "Restore the file as it was and put the change into a new migration.",
    ),
    Code.STORAGE_MIGRATION_FAILED: Documentation(
        "PostgreSQL refused a migration; it was rolled back.",
        "Correct the cause that the message names, then migrate up.",
    ),
    Code.STORAGE_MIGRATION_INCOMPLETE: Documentation(
        "A migration that runs outside a transaction was interrupted half-way.",
        "Run `penstock migrate up`: it clears what was left and runs the migration again.",
    ),
    Code.STORAGE_MIGRATION_INVALID: Documentation(
        "The files of the migrations break a rule: numbers without gaps, an up and a down file each.",
        "Install the release again, or correct the files that the message names.",
    ),
    Code.STORAGE_MIGRATION_LOCKED: Documentation(
        "Another process is migrating this database.", "Wait for it, then run the command again."
    ),
    Code.STORAGE_PERMISSION_DENIED: Documentation(
        "The database role may not do this.", "Use a role that is a member of the one that the message names."
    ),
    Code.STORAGE_REFUSED: Documentation(
        "PostgreSQL refused a statement for a reason that a retry does not change.",
        "See PostgreSQL's own message in the log.",
    ),
    Code.STORAGE_RIGHTS_DIFFER: Documentation(
        "A role lacks a right that the migrations give it, or has one that they don't.",
        "Run the SQL that the error tells, as an administrator.",
    ),
    Code.STORAGE_SCHEMA_OUTDATED: Documentation(
        "The database's schema is not the one that this release needs.", "Run: penstock migrate up."
    ),
    Code.STORAGE_TIMEOUT: Documentation(
        "A statement or transaction took longer than PENSTOCK_STATEMENT_SECONDS or PENSTOCK_TRANSACTION_SECONDS.",
        "Nothing at first: the job is retried. If it dies of this, see what slows PostgreSQL, then send it again.",
    ),
    Code.STORAGE_UNAVAILABLE: Documentation(
        "PostgreSQL does not answer.", "Start PostgreSQL or correct DATABASE_URL; what is queued waits."
    ),
    Code.SUBMISSION_CORRECTION_INVALID: Documentation(
        "A submission can't be corrected so: the form's rules refuse it, nothing changes, or several have the id.",
        "The message says what would be right.",
    ),
    Code.SUBMISSION_ERASURE_RUNNING: Documentation(
        "A person's data is being erased in this tenant, which has to meet each row where it stood at its beginning.",
        "Correct the submission when the erasure has ended: penstock person list.",
    ),
    Code.SUBMISSION_ID_INVALID: Documentation(
        "A submission's id is not a text of 1 to 200 characters.",
        "Send a UUID or a text of at most 200 characters.",
    ),
    Code.SUBMISSION_INVALID: Documentation(
        "A row is not an object {id?, submitted_at?, answers}.", "Send each row in that shape."
    ),
    Code.SUBMISSION_NOT_FOUND: Documentation(
        "The form has no stored submission of this id.", "Check the form, the id and the tenant."
    ),
    Code.SUBMISSION_TIME_INVALID: Documentation(
        "A row's submitted_at is not RFC 3339 with an offset.",
        "Send an instant such as 2026-11-21T08:00:00Z.",
    ),
    Code.SUBMISSION_TIME_RANGE: Documentation(
        "A row's submitted_at lies before 1970 or more than a day ahead.", "Correct the instant or the clock."
    ),
    Code.SUBMISSION_TIME_REQUIRED: Documentation(
        "A row brings an id but no instant, so the same id could be stored twice.",
        "Send submitted_at beside the id, or use a UUIDv7, which holds its time.",
    ),
    Code.SUBMISSION_TOO_LARGE: Documentation(
        "A row has more bytes than PENSTOCK_ROW_BYTES_LIMIT.", "Shorten the row, or raise the limit."
    ),
    Code.SUBMISSION_UNDECODABLE: Documentation(
        "A row's bytes are not UTF-8 JSON.", "Correct the row's encoding; its bytes are kept as sent."
    ),
}
