"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

from penstock.schemas.errors import Code
from penstock.schemas.names import require_name


def _tenant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else require_name(value, Code.REQUEST_TENANT_INVALID, "a tenant")


#: Whose jobs, forms and batches the command is about.
tenant_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--tenant", callback=_tenant, help="The tenant; PENSTOCK_TENANT, or `default`, if absent."
)
