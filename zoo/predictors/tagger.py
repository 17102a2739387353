"""Sentences -> a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from zoo.predictors.base import Predictor, probabilities
from zoo.predictors.generation import batches
from zoo.tokenizers import IdTokenizer, WordTokenizer

Sentence: TypeAlias = str | list[str] | tuple[str, ...]
"""A text, or its words. In a list of sentences; a list of strings alone is several texts."""


@dataclass(frozen=True)
class Tag:
    """A word, its most probable tag, and the tag's probability."""

    word: str
    label: str
    probability: float


class Tagger(Predictor):
    """Sentences -> a tag for each word."""

    def __call__(self, sentences: str | Sequence[Sentence]) -> Any:
        """The tags of a sentence, or of each sentence of a list.

        A text is split into words as corpora of tagged words are (`tokenizers.split_sentence`). One
        that is split already is a list of words in the list: `tagger([["Mr.", "Lee"]])[0]`, since
        `tagger(["One.", "Two."])` is two texts, as with all predictors.

        Returns:
          A list of `Tag`, one for each word; of a list of sentences a list of these.

        Raises:
          TypeError: a sentence is neither a string nor a list of strings.
          ValueError: a word is unknown, and the vocabulary has no word for unknown ones; or a
            sentence has more words than the model's `max_len`.
        """
        if isinstance(sentences, str):
            return self._tags([self._words(sentences)])[0]
        return self._tags([self._words(sentence) for sentence in sentences])

    def check(self) -> dict[str, Any]:
        text = self.check_text
        tags = [[tag.word, tag.label, tag.probability] for tag in self(text)]
        return {"input": text, "output": tags}

    def show(self, item: str) -> str:
        return " ".join(f"{tag.word}/{tag.label}" for tag in self(item))

    @property
    def check_text(self) -> str:
        """A text that this model can read: words of its own where it can read no others."""
        vocabulary = self._vocabulary
        if isinstance(vocabulary, WordTokenizer) and vocabulary.unknown is None:
            middle = vocabulary.vocab_size // 2
            return vocabulary.decode(range(middle, min(middle + 3, vocabulary.vocab_size)))
        return super().check_text

    @property
    def _vocabulary(self) -> WordTokenizer | IdTokenizer:
        if not isinstance(self.tokenizer, WordTokenizer | IdTokenizer):
            raise ValueError(
                f"the card {self.card.name!r} has no vocabulary of words, so it cannot tag words"
            )
        return self.tokenizer

    def _words(self, sentence: Any) -> list[str]:
        if isinstance(sentence, str):
            return self._vocabulary.words(sentence)
        if isinstance(sentence, list | tuple) and all(isinstance(word, str) for word in sentence):
            return list(sentence)
        raise TypeError(
            "a tagger takes a string, or a list whose items are strings or lists of words; got "
            f"{type(sentence).__name__} ({sentence!r:.60})"
        )

    def _tags(self, sentences: Sequence[list[str]]) -> list[list[Tag]]:
        real = [index for index, words in enumerate(sentences) if words]
        ids = [self._vocabulary.encode_words(sentences[index]) for index in real]
        longest = max(map(len, ids), default=0)
        if longest > self.max_len:
            raise ValueError(
                f"a sentence of {longest} words is longer than this model's {self.limit}; split it"
            )
        found: list[list[Tag]] = [[] for _ in sentences]
        exact = self.card.config.reads_padding
        for batch in batches([len(row) for row in ids], self.max_len, exact=exact):
            answers = probabilities(self.module, self.variables, batch.pad(ids))
            for row, index in zip(np.asarray(answers), batch.indices, strict=False):
                found[real[index]] = self._named(sentences[real[index]], row)
        return found

    def _named(self, words: Sequence[str], rows: np.ndarray[Any, Any]) -> list[Tag]:
        best = rows[: len(words)].argmax(axis=-1)
        return [
            Tag(word, self.card.labels[index], float(row[index]))
            for word, index, row in zip(words, best.tolist(), rows, strict=False)
        ]
