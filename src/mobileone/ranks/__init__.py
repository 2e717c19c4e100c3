"""The processes of one run: who am I, on which device, and what do the others have."""
