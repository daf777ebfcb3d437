"""Encrypted backups of the database: made, kept, restored, and held against what was measured when they were made."""
