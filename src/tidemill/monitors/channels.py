"""The place of `verify` in version 0.1, kept for one release: it is now in `tidemill.notifications.channels`."""

from tidemill.notifications.channels import verify

__all__ = ["verify"]
