"""Words, with an id for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

from zoo.config import ValueMistake
from zoo.tokenizers.base import SPECIALS, Ids, check_texts, most_frequent, pick, write_lines
from zoo.tokenizers.reading import PathLike, nfc, read_lines
from zoo.tokenizers.splitting import folded, split_sentence, split_words


class WordTokenizer:
    """One id for each word: its line in the vocabulary file, from 0.

    `split_words` says what a word is; with `lowercase` the text is lowered first. The two ways to
    write `é` in Unicode are one word. `decode` puts one space between words.

    Vocabularies that `train` makes begin with `<pad>`, `<eos>` and `<unk>`, followed by the words,
    the most frequent first. In a vocabulary from elsewhere `unknown` names the word for unknown
    words; without it an unknown word is an error. A word that is there twice has its last id.

    >>> WordTokenizer.train(["Don't stop! Don't."], lowercase=True).encode("Don't go.")
    [3, 2, 5]
    """

    def __init__(
        self, words: Iterable[str], *, lowercase: bool = False, unknown: str | None = None
    ) -> None:
        self._words = tuple(check_texts(words))
        # A word of a text that happens to be `<pad>` or `<eos>` must not get the id of the special.
        self._reserved = 2 if self._words[:3] == SPECIALS else 0
        self._ids = Ids(list(map(nfc, self._words[self._reserved :])), first=self._reserved)
        self.lowercase = lowercase
        self.unknown = SPECIALS[2] if unknown is None and self._reserved else unknown
        if self.unknown is not None:
            if nfc(self.unknown) not in self._ids:
                raise ValueMistake(
                    f"the vocabulary of {self.vocab_size} words has no word {self.unknown!r}, "
                    "which `unknown` names for unknown words"
                )
            self._ids.unknown = self._ids[nfc(self.unknown)]

    @property
    def vocab_size(self) -> int:
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        return list(map(self._ids.__getitem__, split_words(text, lowercase=self.lowercase)))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """The ids of a sentence that is split into words already, one for each, as taggers need."""
        return [self._ids[self._folded(word)] for word in check_texts(words)]

    @property
    def unknown_id(self) -> int | None:
        """The id of unknown words; None: they are an error."""
        return self._ids.unknown

    def words(self, text: str) -> list[str]:
        """The words of a sentence, split as in corpora of tagged words: see `split_sentence`."""
        return split_sentence(text, lambda word: self._folded(word) in self._ids)

    def _folded(self, word: str) -> str:
        return folded(word, lowercase=self.lowercase)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(pick(self._words, (i for i in ids if i >= self._reserved)))

    def save(self, path: PathLike) -> None:
        write_lines(path, self._words)

    @classmethod
    def load(cls, path: PathLike, *, lowercase: bool = False, unknown: str | None = None) -> Self:
        return cls(read_lines([path]), lowercase=lowercase, unknown=unknown)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        split: bool = True,
    ) -> Self:
        """A vocabulary of the words that occur `min_count` times or more.

        Args:
          texts: what to count in.
          size: number of ids, of which the rarest words beyond it get none; None: any.
          min_count: a number of occurrences.
          lowercase: lower the texts first.
          split: False where each text is one word, whatever is in it.

        Raises:
          ValueError: no word occurs that often.
        """
        counts: Counter[str] = Counter()
        for text in check_texts(texts):
            if split:
                counts.update(split_words(text, lowercase=lowercase))
            else:
                counts[folded(text, lowercase=lowercase)] += 1
        words = most_frequent(counts, "words", size, min_count)
        return cls((*SPECIALS, *words), lowercase=lowercase)
