"""Work on client input grows no faster than the input."""
