"""Prompt versions and labels. This is the feature whose shape the others copy."""
