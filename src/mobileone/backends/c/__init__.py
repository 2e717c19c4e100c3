"""An int8 network as one C file with its own kernels, and the session that compiles and calls it."""
