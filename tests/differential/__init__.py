"""Route rules in front of real frameworks: no spelling of a request gets around a rule."""
