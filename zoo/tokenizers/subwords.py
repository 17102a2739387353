"""The subwords of trax and Tensor2Tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from typing import Self

from zoo.config import ValueMistake
from zoo.tokenizers.base import at_least, check_text, check_texts, pick, write_lines
from zoo.tokenizers.reading import PathLike, read_lines

# Runs of letters and digits (`\w` is categories L and N and the underscore), and runs of other
# characters. A single space is a token only at the beginning or the end of the text.
_TOKEN = re.compile(r"[^\W_]+|[\W_]{2,}|[^\w ]|_|\A | \Z")
_ASCII_TOKEN = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z]{2,}|[^0-9A-Za-z ]|\A | \Z")  # 1.5 x as fast


class SubwordTokenizer:
    r"""The subwords of trax and Tensor2Tensor: ids and text are exactly theirs.

    A text is cut wherever letters and digits (Unicode categories L and N) meet other characters; a
    single space between two words is left out. Each token is escaped (`\` as `\\`, `_` as `\u`, a
    character that is not in the vocabulary as its number, such as `\8364;`), ended by `_`, and cut
    greedily into the longest entries of the vocabulary. An id is the entry's line in the file, from
    0; of equal entries it is the last one's. Lines `<pad>` and `<EOS>` decode to that text.

    >>> SubwordTokenizer.load("ende_32k.subword").encode("hello")  # doctest: +SKIP
    [17332, 140]
    """

    def __init__(self, subwords: Iterable[str]) -> None:
        self._subwords = tuple(check_texts(subwords))
        self._ids = {subword: i for i, subword in enumerate(self._subwords) if subword}
        self._longest = max(map(len, self._ids), default=0)
        self._alphabet = set("".join(self._subwords) + r"\_u;0123456789") - {"\n"}
        self._unescaped = self._alphabet - set(r"\_")
        self._tokens = _Cache(self._encode_token)

    @property
    def vocab_size(self) -> int:
        return len(self._subwords)

    def encode(self, text: str) -> list[int]:
        pattern = _ASCII_TOKEN if check_text(text).isascii() else _TOKEN
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
                    raise ValueMistake(
                        f"the vocabulary has no entry {token[start]!r}, needed for {token!r:.40}; "
                        r"each character of its entries and of '\_u;0123456789' must be one too"
                    )
            ids.append(known[token[start:end]])
            start = end
        return tuple(ids)

    def decode(self, ids: Iterable[int]) -> str:
        escaped = "".join(pick(self._subwords, ids)).split("_")
        tokens = [token for token in map(_unescape, escaped) if token]
        spaced = tokens[:1]
        for before, token in pairwise(tokens):
            spaced.append(f" {token}" if before[0].isalnum() and token[0].isalnum() else token)
        return "".join(spaced)

    def save(self, path: PathLike) -> None:
        write_lines(path, (f"'{subword}'" for subword in self._subwords))

    @classmethod
    def load(cls, path: PathLike, *, offset: int = 0) -> Self:
        """Reads a vocabulary file.

        Each line is an entry in quotes; in a file that begins with `<pad>` none has quotes.

        Args:
          path: the file.
          offset: added to all ids, like trax's `n_reserved_ids`; `save` writes it as that many
            empty entries.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is empty, not UTF-8, or a line is not in quotes.
        """
        subwords = [""] * at_least(0, "offset", offset)
        quoted = True
        for number, line in enumerate(read_lines([path]), start=1):
            entry = line.rstrip()
            if number == 1:
                quoted = entry not in ("<pad>", "<pad>_")
            if entry[:1] in ("'", '"') and entry[0] == entry[-1]:
                entry = entry[1:-1]
            elif quoted:
                raise ValueMistake(
                    f"{path}, line {number}: expected an entry in quotes, such as 'the_', "
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
        return "\N{GETA MARK}"  # Tensor2Tensor's mark for a number that is no character


class _Cache(dict[str, tuple[int, ...]]):
    """Token -> ids, computed once and kept; of bounded size.

    Most tokens of a text are among a few thousand. `map(cache.__getitem__, tokens)` runs no Python
    code for these; a function with a cache inside would.
    """

    SIZE = 1 << 17
    """Number of tokens that are kept before it starts again. IMDB has 97,000 different ones."""
    LONGEST = 64
    """Number of characters of the longest token that is kept."""

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
