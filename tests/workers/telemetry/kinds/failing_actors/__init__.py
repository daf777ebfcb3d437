"""The actor of `test.failing`."""
