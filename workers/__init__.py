"""The workers: everything that takes jobs from the queues and gives them their effect, once."""
