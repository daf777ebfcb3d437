DROP FUNCTION penstock.revive_letters(uuid[], bytea[], integer[]);

-- The release before can't hold these; their jobs stay dead in their queues.
DELETE FROM penstock.outbox
 WHERE revives IS NOT NULL AND NOT (kind ~ '^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$' AND length(kind) <= 200);
ALTER TABLE penstock.outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE penstock.outbox ADD CONSTRAINT outbox_kind_check CHECK (
    kind ~ '^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$' AND length(kind) <= 200
);
ALTER TABLE penstock.outbox DROP COLUMN revives;
