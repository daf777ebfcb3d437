"""The actor of `test.paced`."""
