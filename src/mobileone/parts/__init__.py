"""Large sets in parts: a result file each, by any number of processes that need not know one another."""
