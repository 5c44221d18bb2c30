"""The tables of alerts, notifiers and the outbox."""
