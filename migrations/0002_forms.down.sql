DROP TABLE penstock.form_versions;
DROP TABLE penstock.forms;
DROP FUNCTION penstock.refuse_form_version_update();
DROP FUNCTION penstock.tell_form_changed();
