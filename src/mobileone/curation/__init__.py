"""Looking through a set by what a network sees in it: vectors, look-alikes, labels probably wrong."""
