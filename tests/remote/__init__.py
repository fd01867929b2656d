"""Tests of commands over the admin API."""
