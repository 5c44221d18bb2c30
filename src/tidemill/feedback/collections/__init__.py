"""Curation: answers given in production, with people's corrections, become rows of a dataset."""
