"""Accounts on platforms: their tokens, encrypted at rest, and who refreshes them."""
