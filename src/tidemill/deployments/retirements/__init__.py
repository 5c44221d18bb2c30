"""Retirement of model names: announce a sunset date, end the name after it, and point to its successor."""
