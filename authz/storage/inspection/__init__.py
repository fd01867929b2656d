"""Inspection of a store, for `authz doctor`."""
