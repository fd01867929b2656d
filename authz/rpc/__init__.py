"""The gRPC listeners. The only folder that uses gRPC, HTTP/2 and protobuf.

Protobuf imports its implementation in Python (1.3 MB) even where it uses the one in C.
"""

import os

from authz.process.late_imports import import_late

# gRPC's core writes to stderr past our logs. It reads this variable at its first import.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import_late("google.protobuf.internal.python_message")
