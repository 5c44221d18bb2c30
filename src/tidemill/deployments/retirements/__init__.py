"""Taking a name out of service: announced, counted down, drained, and answered with its successor afterwards."""
