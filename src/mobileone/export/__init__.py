"""A network as a file for another runtime; one module a format."""
