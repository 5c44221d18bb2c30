"""Rows of objectives, alerts, notifiers, deliveries and triggers."""
