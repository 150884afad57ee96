"""Screening photos with a bundle. Knows nothing of training."""
