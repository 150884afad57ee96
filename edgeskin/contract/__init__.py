"""What every stage agrees on: the model card, the pixel, the mask, the findings and the bundle."""
