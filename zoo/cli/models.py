"""Commands for publishing: export, verify, import-trax, and train-vocab for a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from zoo.cli.parsing import Command, NamesCheckpoint, NamesModel
from zoo.cli.training import registered_model
from zoo.config import ValueMistake

if TYPE_CHECKING:
    from zoo.hub.verification import Proof
    from zoo.storage.cards import Card


@dataclass(frozen=True, kw_only=True)
class Export(NamesCheckpoint):
    """Writes a run in the form that zoo.load reads anywhere.

    That is a card, weights as safetensors, and a vocabulary.
    """

    out: Path
    """The folder to write; its name becomes the model's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in the file."""
    merge: bool = False
    """Of a run that trained adapters: write the whole weights."""
    description: str = ""
    """A description of the model, for the card."""
    licence: str = ""
    """Of the weights."""
    data: str = ""
    """The training data with its licence."""
    limitations: str = ""
    """Uses for which it is not good enough."""
    samples: tuple[str, ...] = ()
    """Inputs to list in the card with their answers."""

    def run(self) -> None:
        from zoo import hub

        card = hub.export(
            self.name,
            self.out,
            dtype=self.dtype,
            step=self.checkpoint,
            merge=self.merge,
            description=self.description,
            licence=self.licence,
            data=self.data,
            limitations=self.limitations,
            samples=self.samples,
            code=self.code,
        )
        _print_files(self.out, card)


@dataclass(frozen=True, kw_only=True)
class Verify(NamesModel):
    """Checks a model's files, answers and metric.

    The exit code is 1 if one of the checks fails.
    """

    examples: int = 1000
    """Size of the sample on which the metric is measured; 0: do not measure it."""

    def run(self) -> int:
        from zoo.hub import verification

        failed = False
        proof = None
        for proof in verification.verify(self.name, code=self.code):
            print(proof, flush=True)
            failed |= proof.holds is False
        if proof is None or proof.what != "loads":
            proof = _metric(self.name, self.examples)
            print(proof)
            failed |= proof.holds is False
        return 1 if failed else 0


def _metric(name: str, examples: int) -> Proof:
    try:
        from zoo.train import verification
    except ImportError as error:
        from zoo.hub.verification import Proof

        return Proof("metric", None, f"cannot be measured here: {error}")
    return verification.metric(name, examples)


@dataclass(frozen=True, kw_only=True)
class ImportTrax(Command):
    """Converts a checkpoint of google/trax for zoo.load."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The checkpoint, such as model.pkl.gz."""
    out: Path
    """The folder to write; its name becomes the model's."""
    call: str | None = None
    """The constructor call that made the model, such as 'Transformer(input_vocab_size=33300)'."""
    model: str | None = None
    """A registered model instead of a call."""
    vocab: Path | None = None
    """The vocabulary: trax's file of subwords, or a SentencePiece model (*.model)."""
    words: Path | None = None
    """Of a tagger: its words, one a line in the order of their ids."""
    tags: Path | None = None
    """Of a tagger: its tags, one a line in the order of the classes."""
    image_shape: tuple[int, int, int] | None = None
    """Of a model of images that are not square: height, width and channels."""
    labels: Path | None = None
    """Of a classifier: its classes, one a line in their order."""

    def run(self) -> None:
        from zoo.hub.from_trax import import_trax
        from zoo.interop import trax

        if (self.call is None) == (self.model is None):
            raise ValueMistake(
                "give either --call or --model: a checkpoint does not say which model it is of"
            )
        config = registered_model(self.model) if self.model else trax.parse_call(self.call or "")
        card = import_trax(
            self.file,
            self.out,
            config,
            vocabulary=self.vocab,
            words=self.words,
            tags=self.tags,
            image_shape=self.image_shape,
            labels=self.labels,
        )
        _print_files(self.out, card)


def _print_files(folder: Path, card: Card) -> None:
    files = (f"{file.name} ({file.size / 1e6:.2f} MB)" for file in card.files)
    print(f"{folder}: {', '.join(files)}")


@dataclass(frozen=True, kw_only=True)
class TrainVocab(Command):
    """Trains a SentencePiece vocabulary from text files."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE …")]
    """Plain text, one sentence or paragraph a line."""
    size: int = 8000
    """Number of pieces."""
    out: Path = Path("vocabulary.model")
    """The file to write."""

    def run(self) -> None:
        from zoo.storage.files import output_file
        from zoo.tokenizers import SentencePieceTokenizer, read_lines

        out = output_file(self.out)
        tokenizer = SentencePieceTokenizer.train(read_lines(self.files), size=self.size)
        tokenizer.save(out)
        print(f"{self.out}: {tokenizer.vocab_size} pieces")
