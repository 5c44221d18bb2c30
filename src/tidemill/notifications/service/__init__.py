"""Deciding about alerts (`alerts`), who is told of them (`notifiers`), and the messages to them (`deliveries`)."""
