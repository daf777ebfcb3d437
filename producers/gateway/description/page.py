"""The description as one HTML page that needs no script and nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8888; border-radius: .25rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid #8888; padding-top: 1rem; font-size: 1.15rem; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
"""


def render(described: Mapping[str, Any]) -> str:
    """The page."""
    info = described["info"]
    operations = "".join(
        _operation(described, path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{_json(schema)}</pre>'
        for name, schema in sorted(described["components"]["schemas"].items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="/v1/openapi.json">openapi.json</a></p>'
        f"{operations}<h2>Schemas</h2>{schemas}</main></body></html>"
    )


def _operation(described: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    scopes = [scope for each in operation["security"] for names in each.values() for scope in names]
    scope = f"<p>Scope: <code>{escape(', '.join(scopes))}</code></p>" if scopes else ""
    told = operation.get("description", "")
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
        f"{f'<p>{escape(told)}</p>' if told else ''}{scope}"
        f"{_table('Parameters', _parameters(operation))}{''.join(_bodies(operation))}"
        f"{_table('Answers', _answers(described, operation))}"
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in operation.get("parameters", ()):
        yield f"<code>{escape(parameter['name'])}</code> ({parameter['in']})", escape(parameter["description"])


def _bodies(operation: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        example = content["example"]
        shown = escape(example) if isinstance(example, str) else _json(example)
        yield f"<p>Body, <code>{escape(kind)}</code>{_link(content)}:</p><pre>{shown}</pre>"


def _answers(described: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for status, answer in operation["responses"].items():
        found = answer
        if "$ref" in answer:
            found = described["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        links = "".join(_link(content) for content in found.get("content", {}).values())
        yield f"<code>{status}</code>", escape(found["description"]) + links


def _link(content: Mapping[str, Any]) -> str:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return f' (<a href="#{escape(name)}">{escape(name)}</a>)' if name else ""


def _table(title: str, rows: Iterator[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{name}</th><td>{told}</td></tr>" for name, told in rows)
    return f"<p>{title}:</p><table>{cells}</table>" if cells else ""


def _json(value: Any) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))
