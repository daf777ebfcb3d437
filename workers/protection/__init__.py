"""Decisions and mechanisms that protect what is behind the workers. Knows no broker."""
