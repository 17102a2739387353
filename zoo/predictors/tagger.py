"""Sentences -> a tag for each word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, overload

from zoo.config import TypeMistake, ValueMistake, pictures, shown
from zoo.predictors import samples
from zoo.predictors.base import Predictor
from zoo.predictors.batching import Array
from zoo.predictors.classifiers import of_sequences
from zoo.tokenizers import IdTokenizer, WordTokenizer

Sentence: TypeAlias = str | list[str] | tuple[str, ...]
"""A text, or its words."""

Sentences: TypeAlias = list[str] | list[list[str]] | list[Sentence] | tuple[Sentence, ...]
"""A list of strings is several texts, not the words of one."""


@dataclass(frozen=True)
class Tag:
    """A word with its most probable tag."""

    word: str
    label: str
    probability: float


class TaggedSentence(list[Tag]):
    """The tags of a sentence: a list, which a notebook shows as the sentence in colours."""

    def __init__(self, tags: Iterable[Tag] = (), labels: Iterable[str] | None = None) -> None:
        """
        Args:
          tags: a tag for each word.
          labels: all tags of the tagger, which decide on the colours; None: those of the sentence.
        """
        super().__init__(tags)
        self._labels = tuple(tag.label for tag in self) if labels is None else tuple(labels)

    def _repr_html_(self) -> str:
        words = ((tag.word, tag.label, tag.probability) for tag in self)
        return pictures.tagged(words, self._labels)


class Tagger(Predictor):
    """Sentences -> a tag for each word."""

    task: ClassVar[str] = "tagging"

    @overload
    def __call__(self, sentences: str) -> TaggedSentence: ...
    @overload
    def __call__(self, sentences: Sentences) -> list[list[Tag]]: ...
    def __call__(self, sentences: str | Sentences) -> list[Tag] | list[list[Tag]]:
        """The tags of a sentence, or of each sentence of a list.

        Args:
          sentences: a text is split into words as tagged corpora are (`tokenizers.split_sentence`).
            A sentence that is split already is a list of words inside the list,
            `tagger([["Mr.", "Lee"]])[0]`, since `tagger(["One.", "Two."])` is two texts.

        Returns:
          A list with a `Tag` for each word, in order; for a list of sentences a list of them.

        Raises:
          TypeError: a sentence is neither a string nor a list of strings.
          ValueError: a word is unknown, and the vocabulary has no word for unknown ones; or a
            sentence has more words than the model's `max_len`.
        """
        if isinstance(sentences, str):
            return self._tags([self._words(sentences)])[0]
        return self._tags([self._words(sentence) for sentence in self.several(sentences)])

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        if top_k is not None:
            raise ValueMistake("top_k is for classifiers; a tagger gives each word one tag")
        for tags in self(list(items)):
            yield "".join(f"{tag.word}\t{tag.label}\t{tag.probability:.4f}\n" for tag in tags)

    def sample_inputs(self) -> dict[str, Any]:
        return dict(samples.texts(self._vocabulary, self.max_len))

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {"output": [[tag.word, tag.label, tag.probability] for tag in tags]}
            for tags in self(list(inputs))
        ]

    @property
    def _vocabulary(self) -> WordTokenizer | IdTokenizer:
        if not isinstance(self.tokenizer, WordTokenizer | IdTokenizer):
            raise ValueMistake(
                f"the card {self.card.name!r} has no vocabulary of words, so its model cannot tag "
                "words"
            )
        return self.tokenizer

    def _words(self, sentence: Any) -> list[str]:
        if isinstance(sentence, str):
            return self._vocabulary.words(sentence)
        if isinstance(sentence, list | tuple) and all(isinstance(word, str) for word in sentence):
            return list(sentence)
        raise TypeMistake(
            "a tagger takes a string, or a list whose items are strings or lists of words; got "
            f"{type(sentence).__name__} ({shown(sentence)})"
        )

    def _tags(self, sentences: Sequence[list[str]]) -> list[list[Tag]]:
        filled = [words for words in sentences if words]
        ids = [self._vocabulary.encode_words(words) for words in filled]
        longest = max(map(len, ids), default=0)
        if longest > self.max_len:
            raise ValueMistake(
                f"a sentence of {longest} words is longer than this model's "
                f"{self.card.config.described_limit}; split it"
            )
        rows = iter(of_sequences(self, ids))
        return [
            TaggedSentence(self._named(words, next(rows)) if words else (), self.card.labels)
            for words in sentences
        ]

    def _named(self, words: Sequence[str], rows: Array) -> Iterator[Tag]:
        best = rows[: len(words)].argmax(axis=-1)
        for word, index, row in zip(words, best.tolist(), rows, strict=False):
            yield Tag(word, self.card.labels[index], float(row[index]))
