"""Deprecated for one release: the feature is `tidemill.rollouts`, its statistics are in `tidemill.stats`."""
