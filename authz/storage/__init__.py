"""Keeps. Everything that knows Redis; nothing here knows gRPC or HTTP."""
