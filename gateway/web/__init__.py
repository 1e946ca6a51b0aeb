"""Show the migration: the admin listener, the merged OpenAPI description and its page."""
