-- Forms and their versions. A stored version never changes: submissions were judged by it.

CREATE TABLE penstock.forms (
    form_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    form_id text NOT NULL CHECK (form_id ~ '^[A-Za-z0-9._-]{1,200}$'),
    -- 0 only within the transaction that applies the first version.
    latest_version integer NOT NULL CHECK (latest_version >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, form_id)
);
COMMENT ON COLUMN penstock.forms.form_key IS 'A small stand-in for (tenant, form_id) in tables with many rows.';

CREATE TABLE penstock.form_versions (
    form_key integer NOT NULL REFERENCES penstock.forms,
    version integer NOT NULL CHECK (version >= 1),
    -- json, not jsonb: the definition as its author wrote it, in its order.
    definition json NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (form_key, version)
);

CREATE FUNCTION penstock.refuse_form_version_update() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION 'version % of form % is stored and never changes', OLD.version, OLD.form_key
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Apply the changed form: it becomes a new version.';
END
$function$;

CREATE TRIGGER form_versions_are_immutable
    BEFORE UPDATE ON penstock.form_versions
    FOR EACH ROW EXECUTE FUNCTION penstock.refuse_form_version_update();
-- For sessions in replica mode too, which skip ordinary triggers.
ALTER TABLE penstock.form_versions ENABLE ALWAYS TRIGGER form_versions_are_immutable;

-- Processes keep forms in memory; this tells them which one has a new version.
CREATE FUNCTION penstock.tell_form_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM pg_notify('penstock_forms', NEW.tenant || '/' || NEW.form_id);
    RETURN NULL;
END
$function$;

CREATE TRIGGER forms_tell_changes
    AFTER INSERT OR UPDATE OF latest_version ON penstock.forms
    FOR EACH ROW EXECUTE FUNCTION penstock.tell_form_changed();

GRANT INSERT ON penstock.forms, penstock.form_versions TO penstock_worker;
GRANT UPDATE (latest_version, updated_at) ON penstock.forms TO penstock_worker;
