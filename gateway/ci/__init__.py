"""Run ``gateway compare``: the same requests through both implementations, each on its own copy of the state."""
