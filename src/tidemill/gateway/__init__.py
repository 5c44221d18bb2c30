"""The OpenAI-compatible door to every model that Tidemill serves."""
