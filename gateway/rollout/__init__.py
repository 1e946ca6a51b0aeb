"""Turn evidence into verdicts and verdicts into stages."""
