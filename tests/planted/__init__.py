"""Differences that are known, planted in real endpoints."""
