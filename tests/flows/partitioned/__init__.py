"""Tests of the parts in front of several partitions."""
