"""What a run shows: what it would take, its curves, its report."""
