"""From anything that holds a picture to pixels."""
