"""A small server: an image in a request, its classes in the answer."""
