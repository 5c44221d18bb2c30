"""Curation: from answers given in production, and what people said about them, to rows of a dataset."""
