"""Engines: programs that serve one model file each."""
