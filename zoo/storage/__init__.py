"""What lies on disk: cards, weights, checkpoints of runs, files written whole or not at all."""
