"""Evaluations inside tests: `tidemill test`, a pytest plugin whose third verdict is "inconclusive"."""
