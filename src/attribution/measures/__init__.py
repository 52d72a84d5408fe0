"""Measures: what deals say about partners, as tables."""
