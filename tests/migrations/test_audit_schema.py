"""The audit's chain comes to a database in which actions are recorded already."""

import psycopg
import pytest

from penstock.migrations.runner import Migrator
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.sealing import seal_actions
from penstock.workers.audit.verification import Expected, verify_chain

ACTION = """
INSERT INTO penstock.operator_actions VALUES (gen_random_uuid(), now(), 'ada', 'queue.pause', 'posts', %s, '{}')
"""


def test_what_was_recorded_before_is_in_the_first_seal_and_survives_the_way_back(url: str) -> None:
    Migrator(url).up(18)
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(3):
            connection.execute(ACTION, (f"before {number}",))
        Migrator(url).up()
        connection.execute(ACTION, ("after",))
        with connection.transaction():
            sealed = seal_actions(connection, AuditKeys())
        assert sealed is not None
        assert sealed.seal.actions == 4
        verdict = verify_chain(connection, Expected(keys=AuditKeys()))
        assert (verdict.is_whole, verdict.actions, verdict.waiting) == (True, 4, 0)
        Migrator(url).down(18)
        assert connection.execute("SELECT count(*) FROM penstock.operator_actions").fetchone() == (4,)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("DELETE FROM penstock.operator_actions")
        Migrator(url).up()
        assert connection.execute("SELECT count(*) FROM penstock.audit_unsealed").fetchone() == (4,)
