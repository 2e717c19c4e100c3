"""A run: its epochs, its folder, and how it goes on after a stop."""
