"""Core ML, which is written here and runs on Apple's systems."""
