"""The enqueue side of the queue: connection, message on the wire, job records."""
