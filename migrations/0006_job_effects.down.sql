DROP VIEW penstock.effects;
DROP TABLE penstock.job_effects;
