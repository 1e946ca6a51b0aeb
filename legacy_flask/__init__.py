"""Be the legacy half of the reference migration: an ordinary Flask app that knows of no gateway."""
