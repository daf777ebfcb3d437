"""Job logic: one module per job kind. It knows jobs and transactions, and nothing of queues or brokers."""
