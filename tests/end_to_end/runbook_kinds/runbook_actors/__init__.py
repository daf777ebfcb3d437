"""The actor of the runbook's examples; `PENSTOCK_ACTORS` names this package."""
