"""Reads records; never runs anything."""
