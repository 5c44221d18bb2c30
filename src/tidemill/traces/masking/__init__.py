"""Masking of spans before they are stored."""
