"""From a network to the files that other runtimes execute, each proved against PyTorch."""
