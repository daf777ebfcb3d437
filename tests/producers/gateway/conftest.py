"""A gateway for a module, with one form."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producers.gateway.gateway_kit import FORM, FORM_ID, Gateway, serving


@pytest.fixture(scope="module")
def gateway(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with serving(environment, folder) as found:
        assert found.ask("PUT", f"/v1/forms/{FORM_ID}", json=FORM).status_code == 201
        yield found
