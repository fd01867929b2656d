"""The pure core: values, and functions of their arguments. No await, no clock, no driver."""
