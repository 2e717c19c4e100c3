"""ExecuTorch and its XNNPACK backend."""
