"""The loop as a document: `tidemill.yaml`, what it would change, and durable runs of it."""
