"""Erases one user: spans and payloads, scores, and rows on their way into datasets."""
