"""Erasing what one user left: spans and payloads, scores, and rows on their way into datasets."""
