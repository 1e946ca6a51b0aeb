"""Keep what must outlive a process: evidence, positions, events, findings, leases."""
