"""Penstock's side of the comparison; `PENSTOCK_ACTORS` names this package."""
