"""What operators see and do of queues."""
