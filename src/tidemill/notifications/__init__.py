"""Notifications: alerts, one for each cause, and the notifiers that people and programs are told of them through."""
