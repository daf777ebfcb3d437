"""The ledger of job kinds that have none of their own: `penstock.job_effects`."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from penstock.workers.job import Job
from penstock.workers.telemetry.queries import timed_query


def claim_effect(connection: psycopg.Connection, job: Job, result: Mapping[str, Any] | None = None) -> bool:
    """Note within the caller's transaction that this job's effect is there.

    Call it before the effect is written, in the same transaction: a second delivery of the job waits here until the
    first has ended, and then finds the note.

    Args:
        connection: within the actor's transaction, `transaction.connection`.
        job: whose effect it is.
        result: what became of it, for whoever asks; a JSON object.

    Returns:
        True where the effect is to be written now; False where it is committed already, and nothing may change.

    Raises:
        psycopg.Error: as any statement; the delivery fails and is judged.
    """
    with timed_query("insert", "job_effects"):
        inserted = connection.execute(
            "INSERT INTO penstock.job_effects (job_id, kind, tenant, result) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (job.job_id, job.kind, job.tenant, None if result is None else Jsonb(dict(result))),
        )
    return inserted.rowcount == 1


def claim_effects(connection: psycopg.Connection, jobs: Sequence[Job]) -> set[UUID]:
    """Do what `claim_effect` does, for all jobs of a group in one statement.

    Returns:
        The ids of the jobs whose effects are to be written now; the effects of the others are committed already.

    Raises:
        psycopg.Error: as any statement; the delivery fails and is judged.
    """
    # In the same order everywhere, so that two transactions can't wait for each other.
    ordered = sorted(jobs, key=attrgetter("job_id"))
    columns = [[job.job_id for job in ordered], [job.kind for job in ordered], [job.tenant for job in ordered]]
    with timed_query("insert", "job_effects"):
        inserted = connection.execute(
            "INSERT INTO penstock.job_effects (job_id, kind, tenant)"
            " SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[]) ON CONFLICT DO NOTHING RETURNING job_id",
            columns,
        )
        return {job_id for (job_id,) in inserted}


def note_repeated_effect(connection: psycopg.Connection, job: Job) -> None:
    """Note that this job's effect is there, brought by a job of another id that a ledger of its own kind knows.

    Who asks for the effects of jobs asks by their ids. Nothing is noted where the job's own id is known already.

    Raises:
        psycopg.Error: as any statement.
    """
    connection.execute(
        """
        INSERT INTO penstock.job_effects (job_id, kind, tenant)
        SELECT %(job_id)s, %(kind)s, %(tenant)s
         WHERE NOT EXISTS (SELECT FROM penstock.effects WHERE job_id = %(job_id)s)
            ON CONFLICT DO NOTHING
        """,
        {"job_id": job.job_id, "kind": job.kind, "tenant": job.tenant},
    )
