"""What has to happen by itself: the outbox, the audit, the queues' ticks and upkeep, in loops beside each other."""
