"""Door. The only folder that knows gRPC, HTTP/2 and protobuf."""

import os

# gRPC's core writes to stderr by itself, past our logs; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
