"""Tokenizers by name: what recipes, cards and the command line use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from zoo.config import ConfigError, did_you_mean
from zoo.tokenizers.base import Kind, PathLike, Tokenizer
from zoo.tokenizers.pieces import SentencePieceTokenizer
from zoo.tokenizers.plain import ByteTokenizer, CharTokenizer, IdTokenizer
from zoo.tokenizers.subwords import SubwordTokenizer
from zoo.tokenizers.words import WordTokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A tokenizer as a recipe names it: loaded from a file, or else trained on the data's texts."""

    kind: Kind = "words"
    """The scheme."""
    vocab: str | None = None
    """Path of a vocabulary file; None trains one. Bytes and ids have none."""
    vocab_size: int | None = None
    """Ids in all: of plain ids, or to train (None: 8,000 pieces; every word; every character)."""
    min_count: int = 1
    """Words and characters that occur less often do not enter a trained vocabulary."""
    lowercase: bool = False
    """Lower the text before it is cut into words."""
    unknown: str | None = None
    """The word that stands for unknown ones in a word file from elsewhere."""
    offset: int | None = None
    """Added to the ids of bytes (None: 2) and subwords (None: 0), as trax's `n_reserved_ids`."""
    character_coverage: float = 0.9995
    """Share of all characters that get a piece when SentencePiece is trained; 1.0: each one."""
    byte_fallback: bool = False
    """Characters without a piece become their bytes in UTF-8, so that no character is unknown."""

    def build(self, texts: Callable[[], Iterable[str]], *, split: bool = True) -> Tokenizer:
        """Load the vocabulary, or train one on `texts()`, which is called only then.

        Args:
          texts: what to train on.
          split: False where each is one word already, which goes with `kind="words"` only.
        """
        _check_kind(self.kind)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("kind", *_FIELDS[self.kind]) and value != field.default:
                raise ConfigError(
                    f"{field.name}={value!r} does not apply to a tokenizer of kind {self.kind!r} "
                    f"(it takes {', '.join(_FIELDS[self.kind])}); set it to {field.default!r}"
                )
        match self.kind:
            case "bytes":
                return ByteTokenizer() if self.offset is None else ByteTokenizer(self.offset)
            case "ids":
                if self.vocab_size is None:
                    raise ConfigError("a tokenizer of kind 'ids' needs a vocab_size")
                return IdTokenizer(self.vocab_size)
            case "subwords":
                if self.vocab is None:
                    raise ConfigError(
                        "a tokenizer of kind 'subwords' needs vocab, the path of a trax vocabulary "
                        "file; kind 'sentencepiece' can be trained"
                    )
                return SubwordTokenizer.load(self.vocab, offset=self.offset or 0)
            case "sentencepiece":
                if self.vocab is not None:
                    return SentencePieceTokenizer.load(self.vocab)
                size = 8000 if self.vocab_size is None else self.vocab_size
                return SentencePieceTokenizer.train(
                    texts(),
                    size=size,
                    character_coverage=self.character_coverage,
                    byte_fallback=self.byte_fallback,
                )
            case "chars":
                if self.vocab is not None:
                    return CharTokenizer.load(self.vocab)
                return CharTokenizer.train(texts(), size=self.vocab_size, min_count=self.min_count)
            case "words":
                if self.vocab is not None:
                    return WordTokenizer.load(
                        self.vocab, lowercase=self.lowercase, unknown=self.unknown
                    )
                return WordTokenizer.train(
                    texts(),
                    size=self.vocab_size,
                    min_count=self.min_count,
                    lowercase=self.lowercase,
                    split=split,
                )


_FIELDS: dict[str, tuple[str, ...]] = {
    "words": ("vocab", "vocab_size", "min_count", "lowercase", "unknown"),
    "bytes": ("offset",),
    "chars": ("vocab", "vocab_size", "min_count"),
    "ids": ("vocab_size",),
    "subwords": ("vocab", "offset"),
    "sentencepiece": ("vocab", "vocab_size", "character_coverage", "byte_fallback"),
}
"""The fields of TokenizerConfig that each kind takes."""
_OPTIONS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "words": (WordTokenizer, ("lowercase", "unknown")),
    "bytes": (ByteTokenizer, ("offset",)),
    "chars": (CharTokenizer, ()),
    "ids": (IdTokenizer, ("vocab_size",)),
    "subwords": (SubwordTokenizer, ()),
    "sentencepiece": (SentencePieceTokenizer, ()),
}
"""The class of each kind, and its options besides the vocabulary."""
WITHOUT_VOCABULARY = ("bytes", "ids")
"""The kinds that their options say everything about."""


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """Kind and options, JSON- and TOML-ready: what `load` needs besides the file that `save` wrote.

    >>> describe(ByteTokenizer())
    {'kind': 'bytes', 'offset': 2}
    """
    for kind, (cls, options) in _OPTIONS.items():
        if isinstance(tokenizer, cls):
            values = {name: getattr(tokenizer, name) for name in options}
            return {"kind": kind} | {name: v for name, v in values.items() if v is not None}
    raise TypeError(f"{type(tokenizer).__name__} is none of the kinds {', '.join(_OPTIONS)}")


def load(kind: str, path: PathLike | None = None, **options: Any) -> Tokenizer:
    """The tokenizer of a kind, from its file and the options that `describe` gave.

    Bytes and ids have no vocabulary: their options alone do, and go before a file's.
    """
    _check_kind(kind)
    cls, known = _OPTIONS[kind]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"a tokenizer of kind {kind!r} has no option {name!r}{did_you_mean(name, known)} "
                f"(options: {', '.join(known) or 'none'})"
            )
    tokenizer: Tokenizer
    if kind in WITHOUT_VOCABULARY and (path is None or options):
        if kind == "ids" and not options:
            raise ConfigError("a tokenizer of kind 'ids' needs a vocab_size")
        tokenizer = cls(**options)
    elif path is None:
        raise ConfigError(f"a tokenizer of kind {kind!r} needs the path of its vocabulary file")
    else:
        tokenizer = cls.load(path, **options)
    return tokenizer


def _check_kind(kind: str) -> None:
    if kind not in _OPTIONS:
        raise ConfigError(
            f"no kind of tokenizer is named {kind!r}{did_you_mean(kind, _OPTIONS)} "
            f"(kinds: {', '.join(_OPTIONS)})"
        )
