"""Telemetry: set-up, spans, metrics, exporters, and what they expose."""
