"""The loop that makes partitions before they are needed."""

from datetime import timedelta

from penstock.workers.database.partitions import Partitions


class PartitionUpkeep:
    """Sees to the partitions of the coming months."""

    name = "partitions"
    interval = timedelta(hours=6)
    channel = None

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    def run_once(self) -> bool:
        """Make what is missing.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        self._partitions.ensure_ahead()
        return False
