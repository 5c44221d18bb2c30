"""Monitors: drift, objectives with error budgets, alerts, notifiers, and triggers with two keys."""
