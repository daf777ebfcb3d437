"""Traces go to an OTLP collector where the standard settings of OpenTelemetry name one; else nothing is even imported.

Tracing is a convenience: whatever is wrong with it is logged, and keeps no process from its work or from its end.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.producers.spans import is_tracing, use_global_tracer, use_tracer

if TYPE_CHECKING:
    from penstock.workers.telemetry.otlp import Exporting

_log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


def wants_export(environ: Mapping[str, str]) -> bool:
    """Whether the settings ask for traces to be exported."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in {"", "otlp"}:
        return False
    return any(environ.get(name) for name in ENDPOINTS)


@contextmanager
def exporting_traces(environ: Mapping[str, str], process: str) -> Iterator[None]:
    """Export the spans of this process within the block, if the settings ask for that.

    Args:
        environ: OpenTelemetry's own settings are read from the process's environment, and these had better be it.
        process: what this process is; its service is `penstock-<process>` unless the settings name it.
    """
    exporting = _exporting(process) if wants_export(environ) and _speaks(environ) else None
    if exporting is not None:
        use_tracer(exporting.tracer)
    elif not is_tracing():
        # Asking for that each time takes microseconds where a library has imported OpenTelemetry.
        use_tracer(None)
    try:
        yield
    finally:
        use_global_tracer()
        if exporting is not None:
            exporting.stop()


def _exporting(process: str) -> "Exporting | None":
    try:
        # An extra, and half a second that nobody else should wait for.
        from penstock.workers.telemetry.otlp import Exporting  # noqa: PLC0415
    except ImportError:
        _log.warning("traces are not exported: OpenTelemetry is not installed; pip install 'penstock[otel]'")
        return None
    return Exporting(process)


def _speaks(environ: Mapping[str, str]) -> bool:
    wanted = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _PROTOCOL)
    if wanted != _PROTOCOL:
        _log.warning("traces are not exported: Penstock speaks OTLP as %s alone", _PROTOCOL)
    return wanted == _PROTOCOL
