"""Looks for what operators get wrong, and tells the cure."""
