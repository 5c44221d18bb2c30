"""The overview of everything that is monitored, and the scheduler that checks it."""
