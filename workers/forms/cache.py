"""Compiled form versions, and a pointer to the latest of each form.

A version never changes, so it may be kept for ever; the pointer is trusted for a while and dropped by an event.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from penstock.producers.storage.forms import StoredForm
from penstock.schemas.errors import Code, NotFoundError
from penstock.schemas.identity import SubmissionIds
from penstock.workers.answers.form_rules import FormRules
from penstock.workers.telemetry.metrics import CACHE_REQUESTS, CACHE_SIZE

#: Reads one version of a form (the latest where None is named) in one query; None where there is none.
LoadForm = Callable[[str, str, int | None], StoredForm | None]

#: How long a pointer is believed while no event would tell that it has changed.
DEAF_TRUST = timedelta(seconds=5)

_FormName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FormVersion:
    """A form version, ready to judge rows."""

    form_key: int
    tenant: str
    form_id: str
    version: int
    rules: FormRules
    submission_ids: SubmissionIds


@dataclass(slots=True)
class _Pointer:
    version: int
    expires_at: float


@dataclass(slots=True)
class _Flight:
    """One load that others wait for, so that a hundred misses are one query."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class FormCache:
    """Form versions of one process. Safe to share between threads.

    Args:
        load: reads a form from PostgreSQL.
        versions: how many compiled versions are kept, the least recently used going first.
        trust: how long a pointer to the latest version is believed while events arrive.
        enabled: False reads and compiles anew each time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        load: LoadForm,
        *,
        versions: int,
        trust: timedelta,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limit = versions
        self._trust_seconds = trust.total_seconds()
        self._enabled = enabled
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: OrderedDict[tuple[str, str, int], FormVersion] = OrderedDict()
        self._latest: dict[_FormName, _Pointer] = {}
        self._flights: dict[_FormName, _Flight] = {}
        self._epoch = 0
        self._hears_events = False

    def get(self, tenant: str, form_id: str, version: int | None = None) -> FormVersion:
        """A version of a form, the latest if none is named.

        Raises:
            NotFoundError: `FORM_NOT_FOUND` or `FORM_VERSION_NOT_FOUND`. That is never remembered.
            PenstockError: of the `STORAGE_` family.
        """
        if not self._enabled:
            return self._compile(self._load_or_raise(tenant, form_id, version))
        found = self._look_up(tenant, form_id, version)
        CACHE_REQUESTS.labels("forms", "miss" if found is None else "hit").inc()
        return found or self._load_once(tenant, form_id, version)

    def put(self, stored: StoredForm) -> None:
        """Remember a form that was read for another reason (warming up)."""
        self._remember(stored, self._epoch)

    def forget_latest(self, tenant: str, form_id: str) -> None:
        """Ask again which version is the latest: an event said that it changed."""
        with self._lock:
            self._epoch += 1
            self._latest.pop((tenant, form_id), None)

    def forget_all_latest(self) -> None:
        """Ask again for every form: events may have been missed."""
        with self._lock:
            self._epoch += 1
            self._latest.clear()

    def hears_events(self, hears: bool) -> None:
        """Say whether events arrive. While they do not, a pointer is believed for a few seconds only."""
        self._hears_events = hears
        self.forget_all_latest()

    def __len__(self) -> int:
        return len(self._versions)

    def _look_up(self, tenant: str, form_id: str, version: int | None) -> FormVersion | None:
        with self._lock:
            if version is None:
                pointer = self._latest.get((tenant, form_id))
                if pointer is None or pointer.expires_at <= self._clock():
                    return None
                version = pointer.version
            key = (tenant, form_id, version)
            found = self._versions.get(key)
            if found is not None:
                self._versions.move_to_end(key)
            return found

    def _load_once(self, tenant: str, form_id: str, version: int | None) -> FormVersion:
        name = (tenant, form_id)
        with self._lock:
            flight = self._flights.setdefault(name, _Flight())
            flight.waiting += 1
        try:
            with flight.lock:
                # Whoever waited finds what the first one loaded.
                found = self._look_up(tenant, form_id, version)
                if found is not None:
                    return found
                epoch = self._epoch
                return self._remember(self._load_or_raise(tenant, form_id, version), epoch)
        finally:
            with self._lock:
                flight.waiting -= 1
                if flight.waiting == 0:
                    self._flights.pop(name, None)

    def _load_or_raise(self, tenant: str, form_id: str, version: int | None) -> StoredForm:
        stored = self._load(tenant, form_id, version)
        if stored is not None:
            return stored
        if version is None:
            raise NotFoundError(Code.FORM_NOT_FOUND, f"the tenant {tenant!r} has no form {form_id!r}")
        raise NotFoundError(Code.FORM_VERSION_NOT_FOUND, f"the form {form_id!r} has no version {version}")

    def _remember(self, stored: StoredForm, epoch: int) -> FormVersion:
        name, key = (stored.tenant, stored.form_id), (stored.tenant, stored.form_id, stored.version)
        with self._lock:
            known = self._versions.get(key)
        compiled = known or self._compile(stored)
        with self._lock:
            self._versions[key] = compiled
            self._versions.move_to_end(key)
            while len(self._versions) > self._limit:
                (gone_tenant, gone_form, _), _ = self._versions.popitem(last=False)
                # A pointer goes with any version of its form, so that pointers are as few as versions.
                self._latest.pop((gone_tenant, gone_form), None)
            if epoch == self._epoch:
                # An event that came while we read may be newer than what we read: then ask again next time.
                self._latest[name] = _Pointer(stored.latest_version, self._clock() + self._trust())
            CACHE_SIZE.labels("forms").set(len(self._versions))
        return compiled

    def _trust(self) -> float:
        return self._trust_seconds if self._hears_events else min(self._trust_seconds, DEAF_TRUST.total_seconds())

    @staticmethod
    def _compile(stored: StoredForm) -> FormVersion:
        return FormVersion(
            form_key=stored.form_key,
            tenant=stored.tenant,
            form_id=stored.form_id,
            version=stored.version,
            rules=FormRules(stored.parse()),
            submission_ids=SubmissionIds(stored.tenant, stored.form_id),
        )
