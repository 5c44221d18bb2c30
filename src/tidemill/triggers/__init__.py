"""Triggers: they start a pipeline when both the data moved and the quality fell."""
