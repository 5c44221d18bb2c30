"""Deprecated alias for one release: `verify` is now in `tidemill.notifications.channels`."""

from tidemill.notifications.channels import verify

__all__ = ["verify"]
