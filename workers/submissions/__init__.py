"""Submissions: rows of a batch decoded, judged, and written to PostgreSQL."""
