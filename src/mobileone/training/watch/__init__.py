"""What a run tells while it goes on: records, callbacks, curves, memory, and the time that is left."""
