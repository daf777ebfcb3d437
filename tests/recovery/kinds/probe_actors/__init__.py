"""Actors of probes; `PENSTOCK_ACTORS` names this package."""
