"""The HTTP listeners. The only folder that uses the web framework."""
