"""Measurements, side by side in one run: on a noisy machine only ratios mean anything."""
