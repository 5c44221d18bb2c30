"""Rows of alerts, notifiers and the outbox."""
