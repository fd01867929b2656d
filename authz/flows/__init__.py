"""The flows: async code that uses core and ports. It knows no driver."""
