"""Watching what is in production: drift, service levels, alerts and the triggers that act on them."""
