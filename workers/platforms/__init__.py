"""The social platforms, one file each, behind one interface. Knows no queue and no table."""
