"""Delivery of events to receivers outside: at least once, in order, with retries for a day."""
