"""The actors of the kinds in `notes`, as `PENSTOCK_ACTORS` names them."""
