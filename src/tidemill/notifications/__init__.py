"""Notifications: alerts, one for each cause, and the notifiers that send them to people and programs."""
