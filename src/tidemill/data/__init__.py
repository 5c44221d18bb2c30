"""Datasets: import, clean, split, version, catalogue."""
