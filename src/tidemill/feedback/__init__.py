"""Scores: what code, models and people say about an answer, in one table with its source. Feedback is a person's."""
