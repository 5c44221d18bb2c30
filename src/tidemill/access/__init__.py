"""People, API keys and roles."""
