"""The server: the composition of the application, the error responses, and the process that listens."""
