"""Tests of the admin API over real gRPC, on a real Valkey."""
