"""Be the applications that the benchmarks serve: small, so that what is measured is the way to them."""
