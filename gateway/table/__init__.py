"""Read, validate, match and edit routing.yaml; pure but for reading the file."""
