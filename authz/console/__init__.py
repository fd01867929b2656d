"""Doors over HTTP. The only folder that knows the web framework."""
