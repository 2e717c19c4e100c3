"""Probabilities that mean something: scaling, thresholds, novelty, and where they are kept."""
