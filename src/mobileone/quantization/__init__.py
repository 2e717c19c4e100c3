"""From float layers to int8: equalise, choose ranges, round, correct, and compute with the integers."""
