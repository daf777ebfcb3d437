DROP TABLE penstock.api_keys;
