"""A worker's parts in this process."""

from tests.workers.batches import batches, parts, pool

__all__ = ["batches", "parts", "pool"]
