"""Run ``gateway compare``: the same requests through both apps, each on its own copy of the state."""
