"""The command `zoo`: the functions of the library.

tyro makes the flags from their signatures and dataclasses. A user's mistake is one line on standard
error and exit code 2; `ZOO_DEBUG=1` shows the traceback instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from zoo.storage.cards import Card
    from zoo.train.recipe import Recipe

Dtype = Literal["float32", "bfloat16", "int8"] | None

LINES = 1024
"""Lines that are translated at once: enough for full batches of similar lengths."""

MISTAKES = (ValueError, LookupError, TypeError, OSError, ArithmeticError, ImportError)
"""What a wrong name, value, file or folder raises."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets at every start
    try:
        if words[:1] == ["train"]:
            return train(words[1:])
        if words[:1] == ["show"] and "--memory" in words:
            return show_memory([word for word in words[1:] if word != "--memory"])
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            from zoo.registry import UnknownNameError

            raise UnknownNameError("command", words[0], tuple(COMMANDS))
        commands = {name: _deferred(function) for name, function in COMMANDS.items()}
        command = _parse(commands, words or ["--help"], prog="zoo")
        return command() or 0
    except KeyboardInterrupt as stop:
        print(f"zoo: {stop}" if str(stop) else "zoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `zoo list | head`
        sys.stdout = None
        return 0
    except MISTAKES as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"zoo: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2


def _deferred(function: Callable[..., Any]) -> Callable[..., Callable[[], int | None]]:
    """The function with its flags, which instead of running gives what runs it."""

    @functools.wraps(function)
    def parsed(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
        return functools.partial(function, *args, **kwargs)

    return parsed


def _parse(target: Any, words: Sequence[str], *, prog: str, **options: Any) -> Any:
    """`tyro.cli`, with its framed error messages cut down to one line.

    While tyro parses, what is written to standard error is held back.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            if isinstance(target, dict):
                return tyro.extras.subcommand_cli_from_dict(
                    target, args=list(words), prog=prog, **options
                )
            return tyro.cli(target, args=list(words), prog=prog, **options)
    except SystemExit as end:
        if end.code == 2:
            raise ValueError(_one_line(said.getvalue(), prog)) from None
        raise


def _one_line(text: str, prog: str) -> str:
    """The message of a tyro error, without its frame.

    tyro prints a title and paragraphs, wrapped, with rules or blank lines between them: the first
    says what is wrong; one that begins with "Perhaps you meant" or "Argument helptext" has the flag
    that was meant, or what it takes, on its next line.
    """
    lines = [line.strip(" │╭╮╰╯") for line in text.splitlines()[1:]]
    groups = itertools.groupby(lines, key=lambda line: bool(line.strip("─-")))
    paragraphs = [list(group) for filled, group in groups if filled]
    message = " ".join(paragraphs[0]) if paragraphs else "the arguments cannot be understood"
    hint = ""
    for first, *rest in paragraphs[1:]:
        if first.startswith("Perhaps you meant") and rest and not hint:
            hint = f"; did you mean {rest[0].split()[0]}?"
        if first.startswith("Argument helptext") and rest:
            hint = f"; it is {rest[0]}"
    return f"{message.rstrip('.')}{hint} (`{prog} --help` lists what there is)"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `zoo train` takes beside the recipe's own parameters and fields."""

    workdir: Path | None = None
    """The run's folder; runs/RECIPE by default. The same command on the same folder resumes."""
    model: str | None = None
    """Another registered model instead of the recipe's."""
    init_from: str | None = None
    """Fine-tune these weights: a published name, a run's folder or an exported folder."""
    skip: tuple[str, ...] = ()
    """Patterns of parameters that fine-tuning leaves fresh, as 'head/.*'."""
    profile_at: int | None = None
    """Take a profile of five steps from this one on, for TensorBoard."""
    quiet: bool = False
    """Print nothing while training."""


def train(words: list[str]) -> int:
    """`zoo train RECIPE …`: the recipe decides which flags there are, so it is looked up first."""
    from zoo.train import run

    if not words or words[0].startswith("-"):
        print(
            "usage: zoo train RECIPE [--workdir DIR] [--steps N …]; "
            "`zoo train RECIPE --help` lists every flag,"
        )
        print("`zoo list` the recipes. RECIPE may also be FILE.py:FUNCTION or a run's recipe.json.")
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    recipe, options = _recipe(words, "zoo train")
    run(
        recipe,
        options.workdir,
        profile_at=options.profile_at,
        quiet=options.quiet,
    )
    return 0


def show_memory(words: list[str]) -> int:
    """`zoo show RECIPE --memory …`, with the flags of `zoo train RECIPE`."""
    from zoo.train import memory

    if not words:
        raise ValueError("which recipe? zoo show RECIPE --memory")
    recipe, _ = _recipe(words, "zoo show --memory")
    print(memory.describe(recipe, list(memory.of_recipe(recipe))))
    return 0


def _recipe(words: list[str], command: str) -> tuple[Recipe, TrainOptions]:
    """The recipe that the words after a command name and change, and what is no field of it."""
    from zoo.train import InitFrom
    from zoo.train import recipe as recipes

    source, *rest = words
    prog = f"{command} {source}"
    asks_help = bool({"-h", "--help"} & set(rest))
    rest = [word for word in rest if word not in ("-h", "--help")]
    options, rest = _parse(TrainOptions, rest, prog=prog, return_unknown_args=True)
    if source.endswith(".json"):
        recipe = recipes.get(source)
    else:
        function = recipes.find(source)
        recipe, rest = _parse(function, rest, prog=prog, return_unknown_args=True)
        recipe = recipes.named(recipe, function)
    if options.model:
        recipe = dataclasses.replace(recipe, model=registered_model(options.model))
    if asks_help:
        print(
            "flags beside those of the recipe: "
            "--workdir --model --init-from --skip --profile-at --quiet\n"
        )
    recipe = _parse(
        type(recipe),
        [*rest, *(["--help"] if asks_help else [])],
        prog=prog,
        default=recipe,
        config=(tyro.conf.AvoidSubcommands,),
    )
    if options.skip and not options.init_from:
        raise ValueError("--skip goes with --init-from, whose parameters it leaves out")
    if options.init_from:
        init_from = InitFrom(source=options.init_from, skip=options.skip)
        recipe = dataclasses.replace(recipe, init_from=init_from)
    return recipe, options


def train_help(recipe: Annotated[str, tyro.conf.Positional]) -> None:
    """Trains by a recipe, or resumes a run; `zoo train RECIPE --help` lists every flag.

    Args:
      recipe: a name, FILE.py:FUNCTION or a run's recipe.json.
    """
    # Only the list of commands shows this: `main` sends `zoo train` to `train`.


def registered_model(name: str) -> Any:
    """The config of a registered model."""
    from zoo import registry

    return registry.models.get(name)()


def list_names(pattern: Annotated[str, tyro.conf.Positional] = "*") -> None:
    """Lists the models, the recipes and the published weights.

    Args:
      pattern: a shell pattern, as 'bag*'.
    """
    import zoo

    sections = {
        "models": zoo.list_models(pattern),
        "recipes": zoo.list_recipes(pattern),
        "published weights": zoo.list_pretrained(pattern),
    }
    for title, names in sections.items():
        print(f"{title} ({len(names)})")
        for name in names:
            print(f"  {name}")


def evaluate(
    run: Annotated[str, tyro.conf.Positional],
    split: str | None = None,
    data_dir: str | None = None,
    step: str = "best",
    dtype: Dtype = None,
    source: Path | None = None,
    reference: Path | None = None,
    beam_size: int = 4,
) -> None:
    """Evaluates a run or a published model on every example of a split, or a translator on files.

    Args:
      run: the run's folder, or a published name.
      split: test, validation or train; test by default where there is one.
      data_dir: where the data sets lie.
      step: which checkpoint of a run: best, latest, average or a number.
      dtype: precision of dense layers; by default the card's.
      source: a text file to translate, a sentence a line: then BLEU is measured on files.
      reference: the file of its translations.
      beam_size: of the translation of files.
    """
    from zoo.train import evaluation

    if source is not None or reference is not None:
        if source is None or reference is None:
            raise ValueError("give --source and --reference together: files of the same lines")
        score, signature = evaluation.evaluate_files(
            run, source, reference, step=_step(step), dtype=dtype, beam_size=beam_size
        )
        print(f"BLEU  {score:.2f}  {signature}")
        return
    measure = evaluation.evaluate
    for name, value in measure(
        run, split, data_dir=data_dir, step=_step(step), dtype=dtype
    ).items():
        print(f"{name}  {value:.5f}")


def export(
    run: Annotated[str, tyro.conf.Positional],
    out: Path,
    dtype: str = "float32",
    step: str = "best",
    description: str = "",
    licence: str = "",
    data: str = "",
    limitations: str = "",
    samples: tuple[str, ...] = (),
) -> None:
    """Makes of a run what zoo.load reads anywhere: card, safetensors, vocabulary, check values.

    Args:
      run: the run's folder.
      out: the folder to write; its name becomes the model's.
      dtype: float32 or bfloat16, of the weights in the file.
      step: which checkpoint: best, latest, average or a number.
      description: what it is, for the card.
      licence: of the weights.
      data: what it was trained on, with the data's licence.
      limitations: what it is not good for.
      samples: inputs that stand in the card with their answers.
    """
    from zoo import hub

    card = hub.export(
        run,
        out,
        dtype=dtype,
        step=_step(step),
        description=description,
        licence=licence,
        data=data,
        limitations=limitations,
        samples=samples,
    )
    _print_files(out, card)


def predict(
    name: Annotated[str, tyro.conf.Positional],
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    top_k: int = 1,
    step: str = "best",
    dtype: Dtype = None,
) -> None:
    """Predicts the class of texts or image files; of lines of standard input where none are given.

    Of a tagger it prints a line of word, tag and probability for each word, and a blank line after
    each sentence.

    Args:
      name: a published name, a run's folder or an exported folder.
      inputs: texts, or paths of images.
      top_k: how many classes to show.
      step: which checkpoint of a run: best, latest, average or a number.
      dtype: precision of dense layers; by default the card's.
    """
    tasks = ("text_classification", "image_classification", "tagging")
    predictor = _loaded(name, tasks, dtype, step)
    items = list(inputs) or [line.rstrip("\n") for line in sys.stdin]
    if predictor.card.task == "tagging":
        if top_k != 1:
            raise ValueError("--top-k goes with classifiers; a tagger gives each word one tag")
        for tags in predictor(items):
            for tag in tags:
                print(f"{tag.word}\t{tag.label}\t{tag.probability:.4f}")
            print()
        return
    for item, prediction in zip(items, predictor(items, top_k=top_k), strict=True):
        classes = "  ".join(
            f"{label} {probability:.4f}" for label, probability in prediction.probabilities.items()
        )
        print(f"{classes}\t{item}")


def translate(
    name: Annotated[str, tyro.conf.Positional],
    beam_size: int = 4,
    length_penalty: float = 0.6,
    num_return: int = 1,
    max_new_tokens: int | None = None,
    step: str = "best",
    dtype: Dtype = None,
) -> None:
    """Translates standard input to standard output, a sentence a line.

    Args:
      name: a published name, a run's folder or an exported folder.
      beam_size: sequences that beam search follows; 1 is greedy decoding.
      length_penalty: how much longer translations are favoured.
      num_return: translations of each sentence, best first; several are lines of score, tab, text.
      max_new_tokens: longest translation.
      step: which checkpoint of a run: best, latest, average or a number.
      dtype: precision of dense layers; by default the card's.
    """
    translator = _loaded(name, ("translation",), dtype, step)
    lines = (line.rstrip("\n") for line in sys.stdin)
    while chunk := list(itertools.islice(lines, LINES)):
        answers = translator(
            chunk,
            beam_size=beam_size,
            length_penalty=length_penalty,
            num_return=num_return,
            max_new_tokens=max_new_tokens,
        )
        for answer in answers:
            several = answer if isinstance(answer, list) else [answer]
            for each in several:
                print(each if isinstance(each, str) else f"{each.score:.4f}\t{each.text}")
        sys.stdout.flush()


def generate(
    name: Annotated[str, tyro.conf.Positional],
    prompt: str = "",
    max_new_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    step: str = "best",
    dtype: Dtype = None,
) -> None:
    """Continues a text, piece by piece as the tokens come.

    Args:
      name: a published name, a run's folder or an exported folder.
      prompt: the text; it is printed in front of its continuation.
      max_new_tokens: longest continuation.
      temperature: logits are divided by it; 0 takes the most probable token each time.
      top_k: draw from so many most probable tokens only.
      top_p: draw from the smallest set of tokens that has this probability.
      seed: of the draw.
      step: which checkpoint of a run: best, latest, average or a number.
      dtype: precision of dense layers; by default the card's.
    """
    model = _loaded(name, ("language_modeling",), dtype, step)
    pieces = model.generate(
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stream=True,
    )
    for piece in itertools.chain([prompt], pieces):
        print(piece, end="", flush=True)
    print()


COMMAND_OF = {
    "text_classification": "predict",
    "image_classification": "predict",
    "tagging": "predict",
    "translation": "translate",
    "language_modeling": "generate",
}
"""The command that asks a model of each task."""


def _loaded(name: str, tasks: Sequence[str], dtype: Any, step: str) -> Any:
    """A predictor of one of these tasks."""
    from zoo import hub

    checkpoint = _step(step)
    task = hub.card(name).task
    if task not in tasks:
        raise ValueError(
            f"{name} is a model of {task}; ask it by `zoo {COMMAND_OF.get(task, 'eval')}`"
        )
    return hub.load(name, dtype=dtype, step=checkpoint)


def _step(text: str) -> Any:
    if text in ("best", "latest", "average"):
        return text
    if text.isdigit():
        return int(text)
    raise ValueError(f"--step is {text!r}; it takes best, latest, average or the number of a step")


def verify(name: Annotated[str, tyro.conf.Positional], examples: int = 1000) -> int:
    """Proves a model's hashes, check values, answers and metric; ends with 1 if one does not hold.

    Args:
      name: a published name, a run's folder or an exported folder.
      examples: size of the sample on which the metric is measured; 0 leaves it out.
    """
    from zoo.hub import verification

    holds = True
    for proof in verification.verify(name, examples=examples):
        print(proof, flush=True)
        holds = holds and proof.holds is not False
    return 0 if holds else 1


def import_trax(
    file: Annotated[Path, tyro.conf.Positional],
    out: Path,
    call: str | None = None,
    model: str | None = None,
    vocab: Path | None = None,
    words: Path | None = None,
    tags: Path | None = None,
    image_shape: tuple[int, int, int] | None = None,
    labels: Path | None = None,
) -> None:
    """Makes of a checkpoint of google/trax what zoo.load reads: card, safetensors, vocabulary.

    Args:
      file: the checkpoint, as model.pkl.gz.
      out: the folder to write; its name becomes the model's.
      call: the constructor's call that made the model, as 'Transformer(input_vocab_size=33300)'.
      model: a registered model instead of a call.
      vocab: the vocabulary: trax's file of subwords, or a SentencePiece model (*.model).
      words: of a tagger: its words, one a line in the order of their ids.
      tags: of a tagger: its tags, likewise.
      image_shape: for a model of images that are not square: height, width and channels.
      labels: of a classifier: its classes, one a line in their order.
    """
    from zoo.hub.from_trax import import_trax as convert
    from zoo.interop import trax

    if (call is None) == (model is None):
        raise ValueError(
            "give --call or --model, one of them: a checkpoint does not say what it is"
        )
    config = registered_model(model) if model else trax.parse_call(call or "")
    card = convert(
        file,
        out,
        config,
        vocabulary=vocab,
        words=words,
        tags=tags,
        image_shape=image_shape,
        labels=labels,
    )
    _print_files(out, card)


def _print_files(folder: Path, card: Card) -> None:
    print(
        f"{folder}: {', '.join(f'{file.name} ({file.size / 1e6:.2f} MB)' for file in card.files)}"
    )


def train_vocab(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    size: int = 8000,
    out: Path = Path("vocabulary.model"),
) -> None:
    """Trains a SentencePiece vocabulary from text files.

    Args:
      files: plain text, one sentence or paragraph a line.
      size: number of pieces.
      out: the file to write.
    """
    from zoo.tokenizers import SentencePieceTokenizer, read_lines

    tokenizer = SentencePieceTokenizer.train(read_lines(files), size=size)
    tokenizer.save(out)
    print(f"{out}: {tokenizer.vocab_size} pieces")


def show(name: Annotated[str, tyro.conf.Positional]) -> None:
    """Shows all that bears a name: card, recipe with what the data decides, model with parameters.

    `zoo show RECIPE --memory` shows what memory a training step takes and which length fits; it
    takes the flags of `zoo train RECIPE` too.

    Args:
      name: of a model, a recipe or published weights; or a run's folder.
    """
    from zoo.cli import inspection

    print(inspection.describe(name))


def doctor() -> None:
    """Says what this installation has: versions, devices, cache, data folders."""
    from zoo.cli import inspection

    print(inspection.diagnose())


COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_names,
    "show": show,
    "train": train_help,
    "eval": evaluate,
    "export": export,
    "predict": predict,
    "translate": translate,
    "generate": generate,
    "verify": verify,
    "import-trax": import_trax,
    "train-vocab": train_vocab,
    "doctor": doctor,
}

if __name__ == "__main__":
    sys.exit(main())
