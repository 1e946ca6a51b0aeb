"""Answer requests: one module a resource, each with its router."""
