"""Every runtime side by side on this machine: latency, memory, size, start, accuracy, and which to use."""
