"""The sidecar's JSON interface, one router a file."""
