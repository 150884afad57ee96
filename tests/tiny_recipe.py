"""The recipe that fixtures and tests of training share; a module, because there are several conftest.py."""

TINY = (
    "data.select=12",
    "network.decoder=[16]",
    "float.epochs=6",
    "float.batch=8",
    "qat.epochs=2",
    "qat.batch=8",
    "qat.freeze_batch_norm=0.5",
)
"""What makes the shipped recipe `phantom_tiny` smaller still: width 0.35, 64², 6 steps an epoch."""
