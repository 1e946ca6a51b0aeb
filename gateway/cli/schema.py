"""``gateway schema``: print the JSON Schema of the table."""

import sys


def run() -> int:
    """Print the schema as the repository ships it."""
    from gateway.table.schema import schema_text

    sys.stdout.write(schema_text())
    return 0
