"""The steps of a run: what each reads, what it does, and in which order they stand."""
