"""Be the new half of the reference migration: the same service as async FastAPI."""
