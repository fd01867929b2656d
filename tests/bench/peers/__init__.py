"""Servers that do the gate's job otherwise, to compare it with."""
