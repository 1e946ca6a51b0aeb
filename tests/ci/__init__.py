"""Hold `gateway compare` to its claims."""
