"""Limits: leases, refusals, waiting requests and outages, for each key."""
