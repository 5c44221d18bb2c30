"""`tidemill alerts` and `tidemill notifiers`."""

from tidemill.notifications.cli.alerts import app as alerts
from tidemill.notifications.cli.notifiers import app as notifiers

__all__ = ["alerts", "notifiers"]
