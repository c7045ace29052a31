"""Layers for other libraries."""
