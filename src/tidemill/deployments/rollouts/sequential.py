"""Deprecated for one release: `Comparison` is `tidemill.stats.sequential.SequentialComparison`."""

from tidemill.core.deprecation import moved_names

__getattr__ = moved_names(__name__, {"Comparison": "tidemill.stats.sequential:SequentialComparison"})
