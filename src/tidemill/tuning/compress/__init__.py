"""Merging, converting and quantising: from an adapter to one file that an engine serves."""
