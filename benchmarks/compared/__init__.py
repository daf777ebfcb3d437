"""Penstock, COPY and other job systems, side by side in one run (`python -m benchmarks.compared`)."""
