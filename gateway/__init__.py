"""Migrate an API from Flask to FastAPI endpoint by endpoint, behind one base URL."""
