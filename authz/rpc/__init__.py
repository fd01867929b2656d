"""The gRPC listeners. The only folder that uses gRPC, HTTP/2 and protobuf."""

import os

# gRPC's core writes to stderr past our logs. It reads this variable at its first import.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
