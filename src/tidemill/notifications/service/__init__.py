"""Alerts (`alerts`), the notifiers that receive them (`notifiers`), and the messages to these (`deliveries`)."""
