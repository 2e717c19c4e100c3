"""The runtimes that a network is exported to, a folder each; what stands beside an exported file, and how it runs."""
