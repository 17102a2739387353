"""Text to ids and back, without TensorFlow.

Every tokenizer has `encode(text) -> list[int]` (no end of sequence is added), `decode(ids) -> str`,
`vocab_size`, `save(path)` and `load(path)`. Ids 0 and 1 are padding and end of sequence. `decode`
takes any iterable of integers, arrays too; an id that no token has decodes to nothing, because a
model's output layer may be wider than its vocabulary.

A file holds the vocabulary alone. Options such as `lowercase` are in what `describe` gives:
`load(**describe(tokenizer), path=path)` gives back a tokenizer that was saved to `path`.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from zoo.config import ConfigError, did_you_mean

SPECIALS = ("<pad>", "<eos>", "<unk>")
"""The first three lines of the vocabularies that WordTokenizer and CharTokenizer train."""

Kind = Literal["words", "bytes", "chars", "ids", "subwords", "sentencepiece"]
PathLike = str | Path


class Tokenizer(Protocol):
    """What all tokenizers share, and all that pipelines and predictors use."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without end of sequence; none for an empty text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids."""

    def save(self, path: PathLike) -> None:
        """Write the file that `load` reads."""

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read a file that `save`, or the scheme's own trainer, wrote."""


class ByteTokenizer:
    """The bytes of the text in UTF-8: byte b has the id b + `offset`.

    With the default offset of 2, ids 0 and 1 stay free for padding and end of sequence (ByT5, Xue
    et al. 2022, does it with 3). `offset=0` gives the ids of trax's `vocab_type='char'`, `offset=n`
    those of its `n_reserved_ids=n`. Bytes that are not UTF-8 decode to U+FFFD.

    >>> ByteTokenizer().encode("Aé")
    [67, 197, 171]
    """

    def __init__(self, offset: int = 2) -> None:
        self.offset = _at_least(0, "offset", offset)

    @property
    def vocab_size(self) -> int:
        return 256 + self.offset

    def encode(self, text: str) -> list[int]:
        return [byte + self.offset for byte in _check_text(text).encode()]

    def decode(self, ids: Iterable[int]) -> str:
        values = (int(i) - self.offset for i in ids)
        return bytes(value for value in values if 0 <= value < 256).decode(errors="replace")

    def save(self, path: PathLike) -> None:
        _write_lines(path, [json.dumps(describe(self))])

    @classmethod
    def load(cls, path: PathLike) -> Self:
        return cls(_read_option(path, "bytes", "offset"))


class IdTokenizer:
    """Text is integers between spaces, and these are the ids: for models trained on plain ids.

    >>> IdTokenizer(vocab_size=13).encode("3 7 5")
    [3, 7, 5]
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = _at_least(1, "vocab_size", vocab_size)

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    def encode(self, text: str) -> list[int]:
        return self.encode_words(self.words(text))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """One id for each word of a sentence that is split already."""
        return [self._id(word) for word in _check_texts(words)]

    def words(self, text: str) -> list[str]:
        """The words of a sentence: what stands between spaces."""
        return _check_text(text).split()

    def _id(self, word: str) -> int:
        if not re.fullmatch("-?[0-9]{1,18}", word):
            raise ValueError(
                f"{word!r} is not an integer; the text must be integers between spaces, as '3 7 5'"
            )
        if not 0 <= int(word) < self._vocab_size:
            raise ValueError(f"the id {word} is not among 0 to {self._vocab_size - 1}")
        return int(word)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(str(i) for i in map(int, ids) if 0 <= i < self._vocab_size)

    def save(self, path: PathLike) -> None:
        _write_lines(path, [json.dumps(describe(self))])

    @classmethod
    def load(cls, path: PathLike) -> Self:
        return cls(_read_option(path, "ids", "vocab_size"))


class CharTokenizer:
    """One id a character (Unicode code point): its line in the vocabulary file, from 0.

    Ids 0, 1 and 2 are padding, end of sequence and any character that is not in the vocabulary,
    which decodes to U+FFFD. `train` orders the others by frequency. In the file, the space and
    characters that do not print are written as `U+000A`.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self._characters = tuple(characters)
        for character in self._characters:
            if len(_check_text(character)) != 1:
                raise ValueError(f"{character!r} is not one character")
        self._ids = _Ids(self._characters, first=3)
        self._ids.unknown = 2

    @property
    def vocab_size(self) -> int:
        return 3 + len(self._characters)

    def encode(self, text: str) -> list[int]:
        return list(map(self._ids.__getitem__, _check_text(text)))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(_pick(("", "", "\N{REPLACEMENT CHARACTER}", *self._characters), ids))

    def save(self, path: PathLike) -> None:
        visible = (
            c if c.isprintable() and c != " " else f"U+{ord(c):04X}" for c in self._characters
        )
        _write_lines(path, (*SPECIALS, *visible))

    @classmethod
    def load(cls, path: PathLike) -> Self:
        lines = list(read_lines([path]))
        if tuple(lines[:3]) != SPECIALS:
            raise ValueError(f"{path}: the first lines must be {', '.join(SPECIALS)}")
        for number, line in enumerate(lines[3:], start=4):
            if not re.fullmatch(r".|U\+(10|[0-9A-F])?[0-9A-F]{4}", line):
                raise ValueError(
                    f"{path}, line {number}: expected one character, or one such as U+000A, "
                    f"not {line!r:.60}"
                )
        return cls(line if len(line) == 1 else chr(int(line[2:], 16)) for line in lines[3:])

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int | None = None, min_count: int = 1) -> Self:
        """The characters that occur `min_count` times or more; at most `size` ids in all."""
        counts: Counter[str] = Counter()
        for text in _check_texts(texts):
            counts.update(text)
        return cls(_most_frequent(counts, "characters", size, min_count))


class WordTokenizer:
    """One id a word: its line in the vocabulary file, from 0.

    `split_words` says what a word is; with `lowercase` the text is lowered first. `decode` puts one
    space between words.

    Vocabularies that `train` makes begin with `<pad>`, `<eos>` and `<unk>` and order the words by
    frequency. One from elsewhere need not: `unknown` then names its word for unknown words, and
    without it an unknown word is an error. A word that stands there twice has its last id.

    >>> WordTokenizer.train(["Don't stop! Don't."], lowercase=True).encode("Don't go.")
    [3, 2, 5]
    """

    def __init__(
        self, words: Iterable[str], *, lowercase: bool = False, unknown: str | None = None
    ) -> None:
        self._words = tuple(_check_texts(words))
        # Padding and end of sequence are never the ids of words that happen to be written so.
        self._reserved = 2 if self._words[:3] == SPECIALS else 0
        self._ids = _Ids(self._words[self._reserved :], first=self._reserved)
        self.lowercase = lowercase
        self.unknown = SPECIALS[2] if unknown is None and self._reserved else unknown
        if self.unknown is not None:
            if self.unknown not in self._ids:
                raise ValueError(
                    f"the vocabulary of {self.vocab_size} words has no word {self.unknown!r} "
                    "to stand for unknown words"
                )
            self._ids.unknown = self._ids[self.unknown]

    @property
    def vocab_size(self) -> int:
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        return list(map(self._ids.__getitem__, split_words(text, lowercase=self.lowercase)))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """One id for each word of a sentence that is split already, as taggers need it."""
        return [self._ids[self._lowered(word)] for word in _check_texts(words)]

    @property
    def unknown_id(self) -> int | None:
        """The id of an unknown word; None: it is an error."""
        return self._ids.unknown

    def words(self, text: str) -> list[str]:
        """The words of a sentence as corpora of tagged words have them: see `split_sentence`."""
        return split_sentence(text, lambda word: self._lowered(word) in self._ids)

    def _lowered(self, word: str) -> str:
        return word.lower() if self.lowercase else word

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(_pick(self._words, (i for i in ids if i >= self._reserved)))

    def save(self, path: PathLike) -> None:
        for word in self._words:
            if len(f"{word}\n".splitlines()) > 1:
                raise ValueError(f"a file of one word a line cannot hold the word {word!r}")
        _write_lines(path, self._words)

    @classmethod
    def load(cls, path: PathLike, *, lowercase: bool = False, unknown: str | None = None) -> Self:
        # The scripts that vocabularies from elsewhere come from count lines as splitlines does.
        words = chain.from_iterable(f"{line}\n".splitlines() for line in read_lines([path]))
        return cls(words, lowercase=lowercase, unknown=unknown)

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
        """The words that occur `min_count` times or more; at most `size` ids in all.

        Without `split` each text is one word, whatever is in it.
        """
        counts: Counter[str] = Counter()
        for text in _check_texts(texts):
            if split:
                counts.update(split_words(text, lowercase=lowercase))
            else:
                counts[text.lower() if lowercase else text] += 1
        words = _most_frequent(counts, "words", size, min_count)
        return cls((*SPECIALS, *words), lowercase=lowercase)


_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_OUTER_APOSTROPHE = re.compile(r"'(?:(?!\w)|(?<!\w'))")
_ASCII_MARKS = tuple(
    (mark, f" {mark} ")
    for mark in map(chr, range(128))
    if not (mark.isalnum() or mark.isspace() or mark in "_'")
)


def split_words(text: str, *, lowercase: bool = False) -> list[str]:
    """Words (letters, digits and underscores, with apostrophes between them) and single marks.

    HTML line breaks, which are frequent in IMDB, count as white space.

    >>> split_words("Don't stop!<br />It's 9.5...")
    ["Don't", 'stop', '!', "It's", '9', '.', '5', '.', '.', '.']
    """
    if "<" in _check_text(text):
        text = _LINE_BREAK.sub(" ", text)
    if lowercase:
        text = text.lower()
    if not text.isascii():
        return _WORD.findall(text)
    # The same for ASCII in a third of the time: space around the marks, then cut at white space.
    for mark, spaced in _ASCII_MARKS:
        if mark in text:
            text = text.replace(mark, spaced)
    if "'" in text:
        text = _OUTER_APOSTROPHE.sub(" ' ", text)
    return text.split()


LONGEST_WORD = 100
"""Characters; what is longer and has no space in it, as the address of a page, is left as it is."""

_OPENING = re.compile(r"[\"'`“”‘’«([{<$€£#]")  # noqa: RUF001
_CLOSING = re.compile(r"(?:\.\.+|[\"'`“”‘’»)\]}>%.,;:!?…])\Z")  # noqa: RUF001
_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|m|d|re|ve|ll))\Z", re.IGNORECASE)  # noqa: RUF001
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+\Z")


def split_sentence(text: str, known: Callable[[str], bool] = lambda word: False) -> list[str]:
    """The words of a sentence, split as in corpora of tagged words (the Penn Treebank's way).

    Marks around a word are words of their own, marks within it are not; what follows an apostrophe
    is one. A word that is `known` as it stands is not split, nor is what is too long for a word.

    >>> split_sentence("Britain's envoy (Mr. Lee) won't pay $10,000.", {"Mr."}.__contains__)
    ['Britain', "'s", 'envoy', '(', 'Mr.', 'Lee', ')', 'wo', "n't", 'pay', '$', '10,000', '.']
    """
    words = []
    for word in _check_text(text).split():
        words += _split_marks(word, known) if len(word) <= LONGEST_WORD else [word]
    return words


def _split_marks(word: str, known: Callable[[str], bool]) -> list[str]:
    before, after = [], []
    while len(word) > 1 and not known(word) and not _CLITIC.fullmatch(word):
        end = _CLITIC.search(word)
        if end is None and not _ABBREVIATION.match(word):
            end = _CLOSING.search(word)
        if _OPENING.match(word):
            before.append(word[0])
            word = word[1:]
        elif end is not None:
            after.append(end[0])
            word = word[: end.start()]
        else:
            break
    return [part for part in (*before, word, *reversed(after)) if part]


# Runs of letters and digits (`\w` is exactly categories L and N and the underscore), and runs of
# other characters, of which one space alone counts only where it begins or ends the text.
_TOKEN = re.compile(r"[^\W_]+|[\W_]{2,}|[^\w ]|_|\A | \Z")
_ASCII_TOKEN = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z]{2,}|[^0-9A-Za-z ]|\A | \Z")  # 1.5 x as fast


class SubwordTokenizer:
    r"""The subwords of trax and Tensor2Tensor: ids and text are exactly theirs.

    A text is cut wherever letters and digits (Unicode categories L and N) meet other characters; a
    single space between two words is left out. Each token is escaped (`\` as `\\`, `_` as `\u`, a
    character that is not in the vocabulary as `\8364;`), ended by `_`, and cut greedily into the
    longest entries of the vocabulary. An id is the entry's line in the file, from 0, the last one
    of equal entries. Where lines 0 and 1 are `<pad>` and `<EOS>`, they decode to that text.

    >>> SubwordTokenizer.load("ende_32k.subword").encode("hello")  # doctest: +SKIP
    [17332, 140]
    """

    def __init__(self, subwords: Iterable[str]) -> None:
        self._subwords = tuple(_check_texts(subwords))
        self._ids = {subword: i for i, subword in enumerate(self._subwords) if subword}
        self._longest = max(map(len, self._ids), default=0)
        self._alphabet = set("".join(self._subwords) + r"\_u;0123456789") - {"\n"}
        self._unescaped = self._alphabet - set(r"\_")
        self._tokens = _Cache(self._encode_token)

    @property
    def vocab_size(self) -> int:
        return len(self._subwords)

    def encode(self, text: str) -> list[int]:
        pattern = _ASCII_TOKEN if _check_text(text).isascii() else _TOKEN
        return list(chain.from_iterable(map(self._tokens.__getitem__, pattern.findall(text))))

    def _encode_token(self, token: str) -> tuple[int, ...]:
        if not self._unescaped.issuperset(token):
            token = token.replace("\\", r"\\").replace("_", r"\u")
            token = "".join([c if c in self._alphabet else rf"\{ord(c)};" for c in token])
        token += "_"
        known, ids, start, stop = self._ids, [], 0, len(token)
        while start < stop:
            end = min(stop, start + self._longest)
            while token[start:end] not in known:
                end -= 1
                if end <= start:
                    raise ValueError(
                        f"the vocabulary has no entry {token[start]!r}, needed for {token!r:.40}; "
                        r"each character of its entries and of '\_u;0123456789' must be one too"
                    )
            ids.append(known[token[start:end]])
            start = end
        return tuple(ids)

    def decode(self, ids: Iterable[int]) -> str:
        escaped = "".join(_pick(self._subwords, ids)).split("_")
        tokens = [token for token in map(_unescape, escaped) if token]
        spaced = tokens[:1]
        for before, token in pairwise(tokens):
            spaced.append(f" {token}" if before[0].isalnum() and token[0].isalnum() else token)
        return "".join(spaced)

    def save(self, path: PathLike) -> None:
        _write_lines(path, (f"'{subword}'" for subword in self._subwords))

    @classmethod
    def load(cls, path: PathLike, *, offset: int = 0) -> Self:
        """Read a vocabulary file: one entry a line, in quotes, or from `<pad>` on all without.

        `offset` is added to all ids, as trax's `n_reserved_ids` is; `save` writes it as that many
        empty entries.
        """
        subwords = [""] * _at_least(0, "offset", offset)
        quoted = True
        for number, line in enumerate(read_lines([path]), start=1):
            entry = line.rstrip()
            if number == 1:
                quoted = entry not in ("<pad>", "<pad>_")
            if entry[:1] in ("'", '"') and entry[0] == entry[-1]:
                entry = entry[1:-1]
            elif quoted:
                raise ValueError(
                    f"{path}, line {number}: expected an entry in quotes, as 'the_', "
                    f"not {line!r:.60}"
                )
            subwords.append(entry)
        return cls(subwords)


def _unescape(escaped: str) -> str:
    return re.sub(r"\\([u\\]|[0-9]+;)", _unescape_match, escaped) if "\\" in escaped else escaped


def _unescape_match(match: re.Match[str]) -> str:
    if match[1] in "u\\":
        return "_" if match[1] == "u" else "\\"
    try:
        return chr(int(match[1][:-1]))
    except (ValueError, OverflowError):
        return "\N{GETA MARK}"  # what Tensor2Tensor puts for a number that is no character


class SentencePieceTokenizer:
    """The pieces of a SentencePiece model (Kudo and Richardson 2018); ids are the library's own.

    The model must have padding as 0 and end of sequence as 1, as those that `train` makes do.
    Decoding gives normalised text: white space is collapsed, and Unicode is in NFKC.
    """

    MAX_LINES = 2_000_000
    """Lines that `train` looks at, evenly spaced if there are more: they all have to fit in memory,
    several times over, and further ones hardly change the pieces."""

    def __init__(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = model
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model: {error}") from error
        pad, eos = self._processor.pad_id(), self._processor.eos_id()
        if (pad, eos) != (0, 1):
            raise ValueError(
                f"the model has padding as {pad} and end of sequence as {eos}, but they must be 0 "
                "and 1; train it with pad_id=0 and eos_id=1, as `zoo train-vocab` does"
            )

    @property
    def vocab_size(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        return list(self._processor.encode(_check_text(text).encode()))

    def decode(self, ids: Iterable[int]) -> str:
        size = self.vocab_size
        return str(self._processor.decode([i for i in map(int, ids) if 0 <= i < size]))

    def save(self, path: PathLike) -> None:
        Path(path).write_bytes(self._model)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        try:
            return cls(_existing(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        size: int = 8000,
        character_coverage: float = 0.9995,
        byte_fallback: bool = False,
    ) -> Self:
        """A unigram model of `size` pieces, `<unk>` being 2. Equal texts give equal models.

        Args:
          texts: one or more lines each.
          size: number of pieces.
          character_coverage: share of all characters that get a piece, the rarest being left out.
          byte_fallback: the others become their bytes in UTF-8, for which 256 pieces are kept,
            instead of `<unk>`.
        """
        from sentencepiece import SentencePieceTrainer

        # The whole list first: the trainer would wrap an error of the iterable in its own.
        lines = [line for text in _check_texts(texts) for line in text.splitlines() if line.strip()]
        if not lines:
            raise ValueError("there is no text to train on")
        lines = lines[:: -(-len(lines) // cls.MAX_LINES)]
        model = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=_at_least(1, "size", size),
                character_coverage=character_coverage,
                byte_fallback=byte_fallback,
                pad_id=0,
                eos_id=1,
                unk_id=2,
                bos_id=-1,
                max_sentence_length=1 << 30,  # by default lines of over 4,192 bytes are left out
                num_threads=16,  # the result depends on it, so it must not depend on the machine
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(_training_error(str(error), size)) from error
        return cls(model.getvalue())

    def __reduce__(self) -> tuple[type[SentencePieceTokenizer], tuple[bytes]]:
        return type(self), (self._model,)


def _training_error(message: str, size: int) -> str:
    if found := re.search(r"value <= (\d+)", message):
        return f"the text is too small for {size} pieces; the largest possible size is {found[1]}"
    if found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"{size} pieces are too few for this text; the smallest possible size is {found[1]}"
    return f"SentencePiece cannot train on this text: {message}"


# By name: what recipes, cards and the command line use.


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


def read_lines(paths: Iterable[PathLike]) -> Iterator[str]:
    """The lines of text files in UTF-8, one file after the other: texts to train a tokenizer on."""
    for path in paths:
        number = 0
        with _existing(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode().removesuffix("\n").removesuffix("\r")
                except UnicodeDecodeError as error:
                    byte = line[error.start]
                    raise ValueError(
                        f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8"
                    ) from error
        if number == 0:
            raise ValueError(f"{path} is empty")


class _Ids(dict[str, int]):
    """Entry -> id. For what is no entry `unknown`, or an error where that is None."""

    unknown: int | None = None

    def __init__(self, entries: Sequence[str], first: int) -> None:
        super().__init__(zip(entries, count(first), strict=False))

    def __missing__(self, entry: str) -> int:
        if self.unknown is None:
            raise ValueError(
                f"{entry!r} is not in the vocabulary, and no word stands for unknown ones; "
                "name one, as with unknown='UNK'"
            )
        return self.unknown


class _Cache(dict[str, tuple[int, ...]]):
    """Token -> ids, computed once; of bounded size.

    Most tokens of a text are among a few thousand. `map(cache.__getitem__, tokens)` runs no Python
    code for these, which a function with a cache inside would.
    """

    SIZE = 1 << 17
    """Tokens that are kept; then it starts anew. IMDB has 97,000 different ones."""
    LONGEST = 64
    """Characters of the longest token that is kept."""

    def __init__(self, compute: Callable[[str], tuple[int, ...]]) -> None:
        self._compute = compute

    def __missing__(self, token: str) -> tuple[int, ...]:
        ids = self._compute(token)
        if len(token) <= self.LONGEST:
            if len(self) >= self.SIZE:
                self.clear()
            self[token] = ids
        return ids

    def __reduce__(self) -> tuple[type[_Cache], tuple[Callable[[str], tuple[int, ...]]]]:
        return type(self), (self._compute,)  # a copy in another process starts empty


def _most_frequent(counts: Counter[str], what: str, size: int | None, min_count: int) -> list[str]:
    """The entries of a trained vocabulary after `SPECIALS`; ties are in code point order."""
    if size is not None:
        _at_least(4, "size", size)
    frequent = [entry for entry, n in counts.items() if n >= min_count]
    if not frequent:
        raise ValueError(
            f"the texts to train on have no {what} that occur {min_count} times or more"
        )
    frequent.sort(key=lambda entry: (-counts[entry], entry))
    return frequent if size is None else frequent[: size - len(SPECIALS)]


def _pick(entries: Sequence[str], ids: Iterable[int]) -> list[str]:
    return [entries[i] for i in map(int, ids) if 0 <= i < len(entries)]


def _at_least(least: int, name: str, value: int) -> int:
    if value < least:
        raise ValueError(f"{name} is {value}; it must be {least} or more")
    return value


def _check_text(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, not {type(text).__name__}: {text!r:.60}")
    return text


def _check_texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError(f"expected several strings, not one: {texts!r:.60}")
    return map(_check_text, texts)


def _existing(path: PathLike) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return Path(path)


def _write_lines(path: PathLike, lines: Iterable[str]) -> None:
    Path(path).write_bytes("".join(f"{line}\n" for line in lines).encode())


def _read_option(path: PathLike, kind: Kind, name: str) -> int:
    try:
        data = json.loads("\n".join(read_lines([path])))
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict) or data.get("kind") != kind or type(data.get(name)) is not int:
        raise ValueError(f'{path}: expected {{"kind": "{kind}", "{name}": NUMBER}}')
    return int(data[name])
