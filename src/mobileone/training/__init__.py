"""Training: recipes, schedules, optimizer, averaged weights, several ranks, and the loop that joins them."""
