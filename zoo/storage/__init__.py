"""Models on disk: cards, weights, checkpoints of runs, files written completely or not at all."""
