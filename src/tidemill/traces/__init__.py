"""Spans in by OTLP, durable before they are acknowledged; search, trees and roll-ups out."""
