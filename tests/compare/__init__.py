"""Hold comparison to its claims."""
