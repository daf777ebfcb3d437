"""Dead letters: their record, the store that operators search, groups, and replays."""
