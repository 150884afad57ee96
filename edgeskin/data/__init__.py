"""Labelled images on disk: reading, checking, splitting, and the procedural phantom set. No torch."""
