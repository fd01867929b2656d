"""What an Envoy configuration does with our filter: read, never run."""
