"""Weights of other libraries: `zoo.interop.trax` reads the checkpoints of google/trax."""
