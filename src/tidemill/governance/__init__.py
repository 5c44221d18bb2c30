"""Answering for the system: where a thing comes from, and who did what."""
