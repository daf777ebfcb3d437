"""Writes the generated pages: the configuration reference, the error codes, capacity, JSON Schemas, OpenAPI.

`python -m docs.generate` writes them; a test sees that they are as this writes them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.capacity import PAGE, tables
from penstock.producers.gateway.description.routes import openapi
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.settings import ApiKeySettings, ProducerSettings, Settings
from penstock.schemas.errors import CATALOGUE
from penstock.schemas.export import json_schemas
from penstock.schemas.job import job_kinds
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.catalogue import metric_rows

FOLDER = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Each generated file with its text."""
    # Whoever else declares kinds in this process documents them by himself.
    foreign = {name for name, kind in job_kinds().items() if not kind.__module__.startswith("penstock.")}
    schemas = {
        FOLDER / "schemas" / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
        if name not in foreign
    }
    schemas[FOLDER / "contract" / "openapi.json"] = json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"
    own = {"configuration.md": _configuration(), "errors.md": _errors(), "metrics.md": _metrics()}
    own[PAGE.name] = _capacity()
    return {FOLDER / name: text for name, text in own.items()} | schemas


def _configuration() -> str:
    return f"""# Configuration

Generated from the settings by `make docs`; a test sees that it is current.

Every setting is an environment variable. Each can also be given as `NAME_FILE`, the path of a file that holds the
value (a mounted secret); to set both is an error. All faults are told at once, by name and never with their value.

## What a producer reads

{_table(ProducerSettings)}

## What workers and the `penstock` command read besides

{_table(WorkerSettings, leave_out=(ProducerSettings,))}

## What gateways and `penstock keys` read besides

See [API keys](keys.md).

{_table(ApiKeySettings)}

## What gateways read besides

See [the gateway](gateway.md). They read what producers do, too, the settings of API keys, and of a worker's the
database, `PENSTOCK_MEDIA_PRIVATE_HOSTS`, and those of logs, metrics and Sentry.

{_table(GatewaySettings, leave_out=(ProducerSettings, ApiKeySettings, WorkerSettings))}

## What `penstock backup` reads besides

See [backups](backup.md). It needs neither Redis nor the settings of workers.

{_table(BackupSettings, leave_out=(WorkerSettings,))}

`DATABASE_URL` and `REDIS_URL` may be left out where `penstock up` runs on the same `PENSTOCK_HOME`: the other
commands find its servers by themselves.
"""


def _table(settings: type[Settings], leave_out: tuple[type[Settings], ...] = ()) -> str:
    known = {field.alias for other in leave_out for field in other.model_fields.values()}
    rows = [_row(field) for field in settings.model_fields.values() if field.alias not in known]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _row(field: Any) -> str:
    default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
    return f"| `{field.alias}` | {default} | {field.description} |"


def _errors() -> str:
    return "\n".join(
        [
            "# Error codes",
            "",
            "Generated from `schemas/errors.py` by `make docs`; a test sees that it is current. A code never changes "
            "its meaning.",
            *_families(),
            "",
        ]
    )


def _families() -> Iterator[str]:
    family = ""
    for code, documentation in CATALOGUE.items():
        if (now := code.split("_")[0]) != family:
            family = now
            yield from ("", f"## {family}", "", "| code | cause | remedy |", "|---|---|---|")
        yield f"| `{code}` | {documentation.cause} | {documentation.remedy} |"


def _metrics() -> str:
    """The page with its table made anew; the text around it is written by hand."""
    text = (FOLDER / "metrics.md").read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->")
    table = "\n".join(["| metric | labels | type | together | meaning |", "|---|---|---|---|---|", *metric_rows()])
    return f"{before}<!-- table -->\n\n{table}\n\n<!-- end of table -->{after}"


def _capacity() -> str:
    """The page with its tables made anew from what was measured."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables().items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not end:
            raise ValueError(f"docs/capacity.md has no place for the table {name!r}")
        text = f"{before}{begin}\n{table}\n\n{end}{after}"
    return text


def main() -> None:
    """Write every page."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
