"""Taking a name out of service: announced, counted down, drained, and its successor named afterwards."""
