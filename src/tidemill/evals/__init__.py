"""Evaluation: eval sets, scorers, runs against chat endpoints, and comparisons that carry their uncertainty."""
