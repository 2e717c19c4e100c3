"""A model where others find it: its files, a card that says what is known of it, one commit to a hub."""
