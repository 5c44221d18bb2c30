"""Moving traffic to a new release step by step, and back when it is worse."""
