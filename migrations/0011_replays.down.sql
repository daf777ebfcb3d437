DROP TABLE penstock.replay_items;
DROP TABLE penstock.replays;
