"""Actors of the benchmark of gates, and a worker that may lack them; `PENSTOCK_ACTORS` names this package."""
