DROP TABLE penstock.submission_rejections;
DROP TABLE penstock.submission_batches;
DROP TABLE penstock.base_batches;
