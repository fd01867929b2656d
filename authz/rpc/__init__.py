"""Door. The only folder that knows gRPC, HTTP/2 and protobuf."""
