"""Tidemill: the whole loop of a language-model product in one system."""
