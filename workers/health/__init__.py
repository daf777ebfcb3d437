"""How a deployment is: checks with thresholds, one sentence for a person, and what needs one."""
