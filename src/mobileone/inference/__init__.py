"""Images in, classes out: networks in PyTorch and exported files, each in its own runtime."""
