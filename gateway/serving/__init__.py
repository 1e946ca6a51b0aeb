"""Take a request its way: match, decide, call, observe."""
