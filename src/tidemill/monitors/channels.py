"""Deprecated for one release: `verify` is in `tidemill.notifications.channels`."""

from tidemill.core.deprecation import moved_names

__getattr__ = moved_names(__name__, {"verify": "tidemill.notifications.channels:verify"})
