"""The pieces of SentencePiece."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Self

from zoo.config import ValueMistake
from zoo.tokenizers.base import at_least, check_text, check_texts, target
from zoo.tokenizers.reading import PathLike, existing, split_lines


class SentencePieceTokenizer:
    """The pieces of a SentencePiece model (Kudo and Richardson 2018); ids are the library's own.

    In the model padding must be 0 and end of sequence 1, as in those that `train` makes. Decoding
    gives normalised text: runs of white space become one space, and Unicode is in NFKC.
    """

    MAX_LINES = 2_000_000
    """Number of lines that `train` reads, evenly spaced if there are more. SentencePiece holds them
    in memory several times over, and more of them hardly change the pieces."""

    def __init__(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = model
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueMistake(f"not a SentencePiece model: {error}") from error
        pad, eos = self._processor.pad_id(), self._processor.eos_id()
        if (pad, eos) != (0, 1):
            raise ValueMistake(
                f"the model has padding as {pad} and end of sequence as {eos}, but they must be 0 "
                "and 1; train it with pad_id=0 and eos_id=1, or with `zoo train-vocab`"
            )

    @property
    def vocab_size(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        return list(self._processor.encode(check_text(text).encode()))

    def decode(self, ids: Iterable[int]) -> str:
        size = self.vocab_size
        return str(self._processor.decode([i for i in map(int, ids) if 0 <= i < size]))

    def save(self, path: PathLike) -> None:
        target(path).write_bytes(self._model)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        try:
            return cls(existing(path).read_bytes())
        except ValueError as error:
            raise ValueMistake(f"{path}: {error}") from error

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        size: int = 8000,
        character_coverage: float = 0.9995,
        byte_fallback: bool = False,
    ) -> Self:
        """A unigram model of `size` pieces, of which `<unk>` is 2. Equal texts give equal models.

        Args:
          texts: one or more lines each.
          size: number of pieces.
          character_coverage: share of all characters that get a piece; the rarest get none.
          byte_fallback: characters without a piece become their bytes in UTF-8, for which 256
            pieces are reserved, instead of `<unk>`.

        Raises:
          ValueError: there is no text, or `size` is too large or too small for it.
        """
        from sentencepiece import SentencePieceTrainer

        # All texts are read first: the trainer would wrap an error of the iterable in its own.
        lines = [line for text in check_texts(texts) for line in split_lines(text) if line.strip()]
        if not lines:
            raise ValueMistake("there is no text to train on")
        lines = lines[:: -(-len(lines) // cls.MAX_LINES)]
        model = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=at_least(1, "size", size),
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
            raise ValueMistake(_training_error(str(error), size)) from error
        return cls(model.getvalue())

    def __reduce__(self) -> tuple[type[SentencePieceTokenizer], tuple[bytes]]:
        return type(self), (self._model,)


def _training_error(message: str, size: int) -> str:
    if found := re.search(r"value <= (\d+)", message):
        return f"the text is too small for {size} pieces; the largest possible size is {found[1]}"
    if found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"{size} pieces are too few for this text; the smallest possible size is {found[1]}"
    return f"SentencePiece cannot train on this text: {message}"
