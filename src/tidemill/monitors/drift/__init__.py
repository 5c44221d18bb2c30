"""Drift: whether what goes in and comes out is still what it was, and what moved."""
