"""Offer authors of the new app what Flask gave them: sessions, identity, JSON, errors."""
