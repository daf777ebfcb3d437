"""The contract between producers and workers: models, rules of identity, error codes. No input or output."""
