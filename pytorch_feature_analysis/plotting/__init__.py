"""Figures: one file a kind. matplotlib is imported when a figure is made, not before."""
