"""Attack the gateway where two frameworks, two parsers or two requests could be made to disagree."""
