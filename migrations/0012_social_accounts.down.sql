DROP TABLE penstock.social_accounts;
