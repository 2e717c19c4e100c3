"""The runtimes that a network is exported to, a folder each, and what stands beside an exported file."""
