"""The Reformer (Kitaev, Kaiser & Levskaya 2020): long sequences in bounded memory.

From small to large:

* `heads`: heads, scores, chunks, a layer's cache; what every kind of attention is made of.
* `attention`: full and local self-attention, and attention to a source.
* `hashing`: self-attention by hashes (LSH): buckets, sorting, rounds.
* `reversible`: how the backward pass does without stored activations.
* `config`: the fields of all Reformers.
* `layer`: the branches of a layer.
* `stack`: positions and layers, for whole sequences and in decoding.
* `models`: the language model, translation and the tagger, and their registered sizes.
"""
