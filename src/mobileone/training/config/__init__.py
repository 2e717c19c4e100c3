"""What a run is told: its configuration, recipes, and both as text."""
