"""One training for each mix, seed and fold: what more data is worth."""
