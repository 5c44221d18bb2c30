"""The OpenAI-compatible gateway to every model that Tidemill serves."""
