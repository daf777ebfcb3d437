"""Runs steps, each a script in a package's folder `lua/` that Redis runs as one atomic step."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import redis

from penstock.producers.queue.layout import LAYOUT, QueueKeys
from penstock.schemas.errors import Code, ConflictError

_FLAGS = re.compile(r"^-- flags: (?P<flags>[a-z, -]+)$", re.MULTILINE)
_READS = re.compile(r"^-- reads: (?P<fields>[a-z_, ]+)$", re.MULTILINE)
_USES = re.compile(r"^-- uses: (?P<libraries>[a-z_, ]+)$", re.MULTILINE)

#: Whose folder `lua/` holds the queue's steps.
QUEUE_STEPS = "penstock.producers.queue"

Argument = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis gets it, and the name by which Redis knows it."""

    source: str
    sha: str


@cache
def script(name: str, package: str = QUEUE_STEPS) -> Script:
    """The script of a step: the prelude of its package's folder, the libraries that the step names, and its own file.

    A step names libraries, files of local functions in the same folder, in a line `-- uses: limits, circuits`. They
    are put before it in that order; a library names none itself. Step and libraries name fields of the queue's hash
    `meta` in a line `-- reads: done, seq`; the prelude looks these up as `meta_done` and `meta_seq`.

    Raises:
        FileNotFoundError: where there is no such step or library.
    """
    folder = resources.files(package) / "lua"
    body, prelude = ((folder / f"{file}.lua").read_text(encoding="utf-8") for file in (name, "prelude"))
    used = _USES.search(body)
    libraries = [
        (folder / f"{library.strip()}.lua").read_text(encoding="utf-8")
        for library in (used["libraries"].split(",") if used else ())
    ]
    prelude = _reading(prelude, [body, *libraries])
    declared = _FLAGS.search(body)
    # The first line makes Redis hold a script to its flags, and to the slot of its key on a Cluster.
    first = "#!lua" + (f" flags={declared['flags'].replace(' ', '')}" if declared else "")
    source = "\n".join([first, prelude, *libraries, body])
    # usedforsecurity: it is what Redis calls a script, no more.
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _reading(prelude: str, parts: Sequence[str]) -> str:
    """The prelude, as it looks up the fields that these parts of a script name, each once."""
    named = (field.strip() for part in parts for line in _READS.findall(part) for field in line.split(","))
    fields = list(dict.fromkeys(named))
    names, texts = "".join(f", meta_{field}" for field in fields), "".join(f", '{field}'" for field in fields)
    return prelude.replace(" --[[names]]", names).replace(" --[[fields]]", texts)


class Scripts:
    """Runs the steps of one package over a client. Safe to share between threads."""

    def __init__(self, client: redis.Redis, package: str = QUEUE_STEPS) -> None:
        self._client = client
        self._package = package

    def run(self, name: str, keys: QueueKeys, *arguments: Argument) -> Any:
        """Run a step on the keys of a base; returns what the script answers.

        Raises:
            ConflictError: `QUEUE_LAYOUT_NEWER`, where a later release has changed the queue's keys.
            redis.RedisError: whatever Redis says; every step can be run again.
        """
        found = script(name, self._package)
        try:
            try:
                return self._client.evalsha(found.sha, 1, keys.base, *arguments)
            except redis.exceptions.NoScriptError:
                # A server that restarted or took over knows no script; EVAL teaches it this one.
                return self._client.eval(found.source, 1, keys.base, *arguments)
        except redis.ResponseError as error:
            raise_layout(error, keys)
            raise

    def run_confirmed(
        self, name: str, keys: QueueKeys, arguments: list[Argument], replicas: int, wait_ms: int
    ) -> tuple[Any, int]:
        """As `run`, and WAIT on the same connection; returns the answer and how many replicas have it.

        WAIT speaks of the last write of its own connection, so the two must not go over different ones.
        """
        found = script(name, self._package)
        try:
            try:
                return self._confirmed(["EVALSHA", found.sha, 1, keys.base, *arguments], replicas, wait_ms)
            except redis.exceptions.NoScriptError:
                return self._confirmed(["EVAL", found.source, 1, keys.base, *arguments], replicas, wait_ms)
        except redis.ResponseError as error:
            raise_layout(error, keys)
            raise

    def _confirmed(self, command: list[Argument], replicas: int, wait_ms: int) -> tuple[Any, int]:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            pipeline.execute_command("WAIT", replicas, wait_ms)
            answer, confirmed = pipeline.execute()
        return answer, int(confirmed)


def require_layout(client: redis.Redis, keys: QueueKeys) -> None:
    """See that this release knows the layout of a queue.

    Raises:
        ConflictError: `QUEUE_LAYOUT_NEWER`.
        redis.RedisError: whatever Redis says.
    """
    found = client.hget(keys.key("meta"), "layout")
    if isinstance(found, bytes) and int(found) > LAYOUT:
        raise_layout(redis.ResponseError(f"LAYOUT {int(found)}"), keys)


def raise_layout(error: redis.ResponseError, keys: QueueKeys) -> None:
    """Raise our error where Redis's is the scripts' refusal of a newer layout.

    Raises:
        ConflictError: `QUEUE_LAYOUT_NEWER`.
    """
    words = str(error).rpartition("of pipeline caused error: ")[2]
    if words.startswith("LAYOUT "):
        raise ConflictError(
            Code.QUEUE_LAYOUT_NEWER,
            f"the queue {keys.queue!r} has layout {words.split()[1]}; this release knows {LAYOUT} and earlier",
        ) from None
