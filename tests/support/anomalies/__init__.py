"""Synthetic keys with known anomalies, and the count of what a detector finds in them."""
