"""Text to ids and back, without TensorFlow.

Every tokenizer has `encode(text) -> list[int]` (no end of sequence is added), `decode(ids) -> str`,
`vocab_size`, `save(path)` and `load(path)`. Ids 0 and 1 are padding and end of sequence. `decode`
takes any iterable of integers, arrays too; an id that no token has decodes to nothing, because a
model's output layer may be wider than its vocabulary.

A file holds only the vocabulary. `describe` gives the options, such as `lowercase`:
`load(**describe(tokenizer), path=path)` is the tokenizer that was saved to `path`.
"""

from zoo.tokenizers.base import SPECIALS, Kind, Tokenizer
from zoo.tokenizers.config import TokenizerConfig, describe, load, vocabulary_suffix
from zoo.tokenizers.pieces import SentencePieceTokenizer
from zoo.tokenizers.plain import ByteTokenizer, CharTokenizer, IdTokenizer
from zoo.tokenizers.reading import LineReader, nfc, read_lines
from zoo.tokenizers.splitting import split_sentence, split_words
from zoo.tokenizers.subwords import SubwordTokenizer
from zoo.tokenizers.words import WordTokenizer

__all__ = [
    "SPECIALS",
    "ByteTokenizer",
    "CharTokenizer",
    "IdTokenizer",
    "Kind",
    "LineReader",
    "SentencePieceTokenizer",
    "SubwordTokenizer",
    "Tokenizer",
    "TokenizerConfig",
    "WordTokenizer",
    "describe",
    "load",
    "nfc",
    "read_lines",
    "split_sentence",
    "split_words",
    "vocabulary_suffix",
]
