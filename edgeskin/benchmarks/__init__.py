"""Measuring an artifact (numerics, accuracy, latency, memory) and judging what was measured."""
