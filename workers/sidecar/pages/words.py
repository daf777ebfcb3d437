"""The words and tones in which pages tell states."""

from collections.abc import Mapping
from typing import Any

#: What stands at the top of a page after something was done; addresses name the sentence, and never carry one.
DONE: Mapping[str, str] = {
    "paused": "Paused. Running jobs end; no further one is taken.",
    "resumed": "Resumed. Jobs are taken again.",
    "requeued": "Sent back to its queue. What becomes of it shows below.",
    "already": "Nothing was changed: it was settled before.",
    "discarded": "Discarded. The letters stay in the records until their retention ends.",
    "forced": "Done. It holds everywhere at once.",
    "auto": "The circuit goes by its calls again.",
    "limit-set": "The limit holds from now on.",
    "limit-cleared": "The callers' own limit holds again.",
    "noted": "The note is kept with the group.",
    "snoozed": "Put off. It needs nobody until then, or until twice as many letters are open.",
    "awake": "The group is listed again among what needs a person.",
    "replay-paused": "Paused. What was sent goes on; nothing further is sent.",
    "replay-resumed": "The replay goes on.",
    "replay-cancelled": "Cancelled. What was sent goes on; the rest stays open.",
    "post-reschedule": "Moved. It goes out at its new instant.",
    "post-cancel": "Cancelled. It does not go out.",
    "post-approve": "Approved. It goes out at its instant.",
    "post-settle": "Settled: it is noted as live.",
    "post-publish-again": "It is published again. What becomes of it shows below.",
    "logged-out": "You are logged out.",
}

#: Tone and word of each state that a badge tells.
_BADGES: Mapping[str, tuple[str, str]] = {
    "open": ("", "open"),
    "requeued": ("accent", "requeued"),
    "discarded": ("", "discarded"),
    "waiting": ("accent", "waiting"),
    "done": ("good", "done"),
    "healed": ("good", "healed"),
    "died": ("bad", "died again"),
    "dead": ("bad", "dead"),
    "ready": ("accent", "ready"),
    "scheduled": ("", "scheduled"),
    "leased": ("accent", "running"),
    "parked": ("warn", "parked"),
    "preparing": ("", "preparing"),
    "canary": ("accent", "canary"),
    "running": ("accent", "running"),
    "paused": ("warn", "paused"),
    "stopped": ("bad", "stopped"),
    "cancelled": ("", "cancelled"),
    "circuit:open": ("bad", "open"),
    "circuit:half-open": ("warn", "half-open"),
    "circuit:closed": ("good", "closed"),
    "snoozed": ("", "snoozed"),
    "post:scheduled": ("", "scheduled"),
    "post:parked": ("warn", "parked"),
    "post:held": ("warn", "held"),
    "post:claimed": ("accent", "claimed"),
    "post:publishing": ("accent", "publishing"),
    "post:published": ("good", "published"),
    "post:dead": ("bad", "dead"),
    "post:cancelled": ("", "cancelled"),
    "post:unknown_outcome": ("bad", "unknown outcome"),
    "post:expired": ("warn", "expired"),
    "account:active": ("good", "active"),
    "account:reauthorize": ("bad", "must be authorised anew"),
    "account:disabled": ("", "disabled"),
}
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "retry": ("warn", "Failed, tried again"),
    "retried": ("warn", "Failed, tried again"),
    "postpone": ("", "Postponed, at no cost of an attempt"),
    "postponed": ("", "Postponed, at no cost of an attempt"),
    "dead": ("bad", "Failed for good"),
    "bury": ("bad", "Failed for good"),
    "buried": ("bad", "Failed for good"),
    "lost": ("warn", "Lost with its worker"),
    "recovered": ("warn", "Lost with its worker, taken back"),
    "poison": ("bad", "Took its worker down too often"),
    "parked": ("", "Parked"),
    "released": ("", "Let go"),
    "revived": ("accent", "Given a new life by an operator"),
    "done": ("good", "Done"),
}
_STATUS = {"HEALTHY": "good", "WARNING": "warn", "CRITICAL": "bad"}
_SEVERITY = {"critical": "bad", "warning": "warn", "info": "accent"}

_BLOCKED = {
    "paused": "an operator paused {0}",
    "circuit": "the circuit of {0} is open",
    "limit": "the limit of {0} is used up",
    "storage": "PostgreSQL is away; every worker is held up",
    "kind": "no worker of this release knows its kind",
}


def badge_of(state: object, family: str = "") -> tuple[str, str]:
    """The tone and word of a state; an unknown one is told as it is."""
    key = f"{family}:{state}" if family else str(state)
    return _BADGES.get(key, ("", str(state)))


def outcome_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The tone and words of an entry of a job's history."""
    outcome = str(entry.get("outcome", ""))
    return _OUTCOMES.get(outcome, ("", outcome.replace("_", " ").capitalize() or "Noted"))


def blocked(by: str | None) -> str:
    """What a gate's name means, as part of a sentence; empty for none."""
    if not by:
        return ""
    gate, _, name = by.partition(":")
    if gate == "paused":
        name = f"the {name.replace(':', ' ', 1)}" if ":" in name else f"the queue {name}"
    return _BLOCKED[gate].format(name or gate) if gate in _BLOCKED else f"it waits for {by}"


def gate_told(gate: str) -> str:
    """A gate as a dry run names it, in words."""
    kind, _, name = gate.partition(":")
    what = {
        "queue": "the pause of the queue",
        "paused": "the pause of",
        "circuit": "the circuit",
        "limit": "the limit of",
    }
    what["blocked"] = "its provider's block of"
    return f"{what[kind]} {name}" if kind in what else gate


def upcast_told(upcast: Any) -> str:
    """Letters of an earlier version, in words."""
    told = f"{upcast.letters:,} of {upcast.kind}: version {upcast.version}, brought to version {upcast.present}"
    return f"{told}; not possible: {upcast.refused}" if upcast.refused else told


def state_sentence(view: Any) -> str:
    """Why a job is where it is, in one sentence."""
    waits_for = blocked(view.blocked_by)
    told = {
        "ready": "It can run now, and waits for a worker to take it.",
        "scheduled": "It waits for its time.",
        "leased": "A worker is running it.",
        "parked": "It was put aside until what it waits for is over.",
        "done": "It is done.",
        "dead": "It ended without its effect, and waits as a dead letter for an operator.",
    }.get(str(view.state), f"It is {view.state}.")
    return f"It does not run because {waits_for}." if waits_for and view.state != "leased" else told


def status_tone(status: str) -> str:
    """The tone of a health status."""
    return _STATUS.get(str(status).upper(), "warn")


def severity_tone(severity: str) -> str:
    """The tone of something that needs a person."""
    return _SEVERITY.get(str(severity).lower(), "warn")


def selection_told(selection: Any) -> str:
    """What a replay was ordered to send, in words."""
    if not isinstance(selection, Mapping):
        return str(selection)
    parts = []
    for name, value in selection.items():
        if name == "ids" and isinstance(value, list | tuple):
            parts.append(f"{len(value):,} letters chosen one by one")
        elif value not in (None, "", [], {}):
            parts.append(f"{name} {selection_told(value) if isinstance(value, Mapping) else value}")
    return ", ".join(parts) or "all open letters"


FILTERS: Mapping[str, Any] = {
    "badge_of": badge_of,
    "outcome_of": outcome_of,
    "blocked": blocked,
    "state_sentence": state_sentence,
    "gate_told": gate_told,
    "status_tone": status_tone,
    "severity_tone": severity_tone,
}
