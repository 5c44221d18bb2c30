"""The server: the table of routers, the one error handler, and the process that listens."""
