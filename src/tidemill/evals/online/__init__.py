"""Online evaluation: scorers on a stable share of live traffic, within a daily budget, resumable anywhere."""
