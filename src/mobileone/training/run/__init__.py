"""A run: its loop, its folder, how it goes on after a stop; the look ahead at it and the report after it."""
