"""From a recipe and a data folder to a run. Needs torch."""
