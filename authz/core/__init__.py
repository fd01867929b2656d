"""Decides. No await, no clock, no driver: values, and functions of their arguments."""
