"""Keep the gateway's processes: a light supervisor, its workers, and what passes between them."""
