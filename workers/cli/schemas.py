"""`penstock schemas`: the contract as JSON Schema, for other languages."""

import json
from pathlib import Path

import click

from penstock.schemas.export import json_schemas
from penstock.workers.cli.output import emit, json_option


@click.command(epilog="Example: penstock schemas contract/")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
def schemas(folder: Path, as_json: bool) -> None:
    """Write the JSON Schema of every payload, of forms and of the envelope into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in json_schemas().items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(str(path))
    emit({"files": written}, as_json, lambda: "\n".join(written))
