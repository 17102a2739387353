"""Tokenizers by name, as recipes, cards and the command line write them.

`KINDS`, at the end, holds everything that is known of each kind. To add a kind, write its class and
its builder, enter both there, and add its name to `Kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from zoo.config import ConfigError, TypeMistake, did_you_mean
from zoo.tokenizers.base import Kind, Tokenizer
from zoo.tokenizers.pieces import SentencePieceTokenizer
from zoo.tokenizers.plain import ByteTokenizer, CharTokenizer, IdTokenizer
from zoo.tokenizers.reading import PathLike
from zoo.tokenizers.subwords import SubwordTokenizer
from zoo.tokenizers.words import WordTokenizer

Texts: TypeAlias = Callable[[], Iterable[str]]
"""Gives the texts that a vocabulary is trained on, from the first on, at each call."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A tokenizer that is read from a file, or else trained on the texts of the data."""

    kind: Kind = "words"
    """The kind of token."""
    vocab: str | None = None
    """Path of a vocabulary file; None: it is trained. Bytes and ids have none."""
    vocab_size: int | None = None
    """Number of ids. Of kind `ids`: all of them. Of words and characters: the most that training
    makes (None: one for each). Of SentencePiece: the number of pieces to train (None: 8,000). A
    file with more ids is refused."""
    min_count: int = 1
    """Words and characters that occur less often do not enter a trained vocabulary."""
    lowercase: bool = False
    """Lower the text before it is split into words."""
    unknown: str | None = None
    """The word for unknown words in a file of words from elsewhere."""
    offset: int | None = None
    """Added to the ids of bytes (None: 2) and subwords (None: 0); trax's `n_reserved_ids`."""
    character_coverage: float = 0.9995
    """Share of all characters that get a piece when SentencePiece is trained; 1.0: every one."""
    byte_fallback: bool = False
    """Let SentencePiece write characters without a piece as their bytes in UTF-8, so that no
    character is unknown."""

    def build(self, texts: Texts, *, split: bool = True) -> Tokenizer:
        """Reads the vocabulary, or trains one.

        Args:
          texts: called only to train.
          split: False where each text is one word, which only `kind="words"` can be trained on.

        Raises:
          ConfigError: there is no such kind, a field does not apply to it or is missing, or the
            file has more than `vocab_size` ids.
          FileNotFoundError, ValueError: there is no such file, or it cannot be read.
        """
        scheme = _scheme(self.kind)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("kind", *scheme.fields) and value != field.default:
                raise ConfigError(
                    f"{field.name}={value!r} does not apply to a tokenizer of kind {self.kind!r} "
                    f"(it takes {', '.join(scheme.fields)}); set it to {field.default!r}"
                )
        tokenizer = scheme.build(self, texts, split)
        most, there = self.vocab_size, tokenizer.vocab_size
        if self.vocab is not None and most is not None and there > most:
            raise ConfigError(
                f"vocab_size is {most}, but {self.vocab} has {there} ids; leave vocab_size out "
                "(None), or take another file"
            )
        return tokenizer


def _words(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    lowercase = config.lowercase
    if config.vocab is not None:
        return WordTokenizer.load(config.vocab, lowercase=lowercase, unknown=config.unknown)
    size, min_count = config.vocab_size, config.min_count
    return WordTokenizer.train(
        texts(), size=size, min_count=min_count, lowercase=lowercase, split=split
    )


def _bytes(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    return ByteTokenizer() if config.offset is None else ByteTokenizer(config.offset)


def _chars(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    if config.vocab is not None:
        return CharTokenizer.load(config.vocab)
    return CharTokenizer.train(texts(), size=config.vocab_size, min_count=config.min_count)


def _ids(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    if config.vocab_size is None:
        raise ConfigError("a tokenizer of kind 'ids' needs a vocab_size")
    return IdTokenizer(config.vocab_size)


def _subwords(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    if config.vocab is None:
        raise ConfigError(
            "a tokenizer of kind 'subwords' needs vocab, the path of a trax vocabulary file; kind "
            "'sentencepiece' can be trained"
        )
    return SubwordTokenizer.load(config.vocab, offset=config.offset or 0)


def _sentencepiece(config: TokenizerConfig, texts: Texts, split: bool) -> Tokenizer:
    if config.vocab is not None:
        return SentencePieceTokenizer.load(config.vocab)
    return SentencePieceTokenizer.train(
        texts(),
        size=8000 if config.vocab_size is None else config.vocab_size,
        character_coverage=config.character_coverage,
        byte_fallback=config.byte_fallback,
    )


@dataclass(frozen=True)
class Scheme:
    """A kind of tokenizer."""

    tokenizer: type[Any]
    """Its class."""
    build: Callable[[TokenizerConfig, Texts, bool], Tokenizer]
    """Makes it from a config, the texts to train on, and whether these are split into words."""
    fields: tuple[str, ...]
    """The fields of a config that it takes."""
    options: tuple[str, ...] = ()
    """Its options besides the vocabulary: arguments and attributes of the class."""
    suffix: str | None = ".vocab"
    """Suffix of its vocabulary file; None: its options say everything."""


KINDS: dict[Kind, Scheme] = {
    "words": Scheme(
        WordTokenizer,
        _words,
        ("vocab", "vocab_size", "min_count", "lowercase", "unknown"),
        ("lowercase", "unknown"),
    ),
    "bytes": Scheme(ByteTokenizer, _bytes, ("offset",), ("offset",), suffix=None),
    "chars": Scheme(CharTokenizer, _chars, ("vocab", "vocab_size", "min_count")),
    "ids": Scheme(IdTokenizer, _ids, ("vocab_size",), ("vocab_size",), suffix=None),
    "subwords": Scheme(SubwordTokenizer, _subwords, ("vocab", "offset")),
    "sentencepiece": Scheme(
        SentencePieceTokenizer,
        _sentencepiece,
        ("vocab", "vocab_size", "character_coverage", "byte_fallback"),
        suffix=".model",
    ),
}


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """Kind and options, JSON- and TOML-ready: what `load` needs besides the file of `save`.

    >>> describe(ByteTokenizer())
    {'kind': 'bytes', 'offset': 2}

    Raises:
      TypeError: it is of no kind that has a name.
    """
    kind, scheme = _kind_of(tokenizer)
    values = {name: getattr(tokenizer, name) for name in scheme.options}
    return {"kind": kind} | {name: value for name, value in values.items() if value is not None}


def vocabulary_suffix(tokenizer: Tokenizer) -> str | None:
    """The suffix of a tokenizer's vocabulary file; None: it has none.

    Raises:
      TypeError: it is of no kind that has a name.
    """
    _, scheme = _kind_of(tokenizer)
    return scheme.suffix


def load(kind: str, path: PathLike | None = None, **options: Any) -> Tokenizer:
    """The tokenizer of a kind, from its file and the options that `describe` gave.

    Bytes and ids have no vocabulary: options are enough, and go before those of a file.

    Raises:
      ConfigError: there is no such kind or option, or something is missing.
      FileNotFoundError, ValueError: there is no such file, or it cannot be read.
    """
    scheme = _scheme(kind)
    for name in options:
        if name not in scheme.options:
            raise ConfigError(
                f"a tokenizer of kind {kind!r} has no option {name!r}"
                f"{did_you_mean(name, scheme.options)} "
                f"(options: {', '.join(scheme.options) or 'none'})"
            )
    tokenizer: Tokenizer
    if scheme.suffix is None and (path is None or options):
        if kind == "ids" and not options:
            raise ConfigError("a tokenizer of kind 'ids' needs a vocab_size")
        tokenizer = scheme.tokenizer(**options)
    elif path is None:
        raise ConfigError(f"a tokenizer of kind {kind!r} needs the path of its vocabulary file")
    else:
        tokenizer = scheme.tokenizer.load(path, **options)
    return tokenizer


def _kind_of(tokenizer: Tokenizer) -> tuple[Kind, Scheme]:
    for kind, scheme in KINDS.items():
        if isinstance(tokenizer, scheme.tokenizer):
            return kind, scheme
    raise TypeMistake(f"{type(tokenizer).__name__} is none of the kinds {', '.join(KINDS)}")


def _scheme(kind: str) -> Scheme:
    found = {str(name): scheme for name, scheme in KINDS.items()}
    if kind not in found:
        raise ConfigError(
            f"no kind of tokenizer is named {kind!r}{did_you_mean(kind, found)} "
            f"(kinds: {', '.join(found)})"
        )
    return found[kind]
