"""Drift: monitors that compare live traffic with a reference, and their reports."""
