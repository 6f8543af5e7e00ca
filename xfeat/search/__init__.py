"""Queries over trained runs."""
