"""Sentences of one language -> sentences of another."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack, overload

import jax
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.config import ConfigError, TypeMistake, ValueMistake
from zoo.decoding import Bans, Beam, Choice, Controls, Counted, Prefix, Sampled, Sampling
from zoo.predictors import generation, samples
from zoo.predictors.alignment import Alignment, source_weights
from zoo.predictors.base import UNLIMITED, Predictor
from zoo.predictors.batching import FEW_ROWS, SHORTEST, Array, Batch, batches, padded, power_of_two
from zoo.predictors.generation import (
    EOS,
    Ids,
    Scored,
    draw_keys,
    jax_keys,
    prefixes,
    sources_of,
    until_end,
)
from zoo.predictors.sentences import by_sentence

Texts: TypeAlias = list[str] | tuple[str, ...]

BEAM_SIZE = 4
"""Default number of beams."""

END = "<end>"
"""The end of a translation, as an alignment shows it."""

CHECKED = 32
"""Most new tokens in the answers to sample inputs."""


class Search(TypedDict, total=False):
    """The options of a translator that do not change the type of its answer."""

    beam_size: int | None
    length_penalty: float
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int
    max_new_tokens: int | None
    prefix: str | list[str] | None
    split: bool
    suppress: Sequence[int | str]
    repetition_penalty: float
    no_repeat_ngram: int | None
    min_new_tokens: int


class Translator(Predictor):
    """Sentences -> translations, by beam search unless another method is asked for."""

    task: ClassVar[str] = "translation"
    command: ClassVar[str] = "translate"

    @overload
    def __call__(self, sources: str, **options: Unpack[Search]) -> str: ...
    @overload
    def __call__(self, sources: Texts, **options: Unpack[Search]) -> list[str]: ...
    @overload
    def __call__(
        self, sources: str, *, scores: Literal[True], **options: Unpack[Search]
    ) -> Scored: ...
    @overload
    def __call__(
        self, sources: Texts, *, scores: Literal[True], **options: Unpack[Search]
    ) -> list[Scored]: ...
    @overload
    def __call__(
        self, sources: str, *, num_return: int, **options: Unpack[Search]
    ) -> list[Scored]: ...
    @overload
    def __call__(
        self, sources: Texts, *, num_return: int, **options: Unpack[Search]
    ) -> list[list[Scored]]: ...
    def __call__(
        self,
        sources: str | Texts,
        *,
        beam_size: int | None = None,
        length_penalty: float = 0.6,
        num_return: int | None = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        max_new_tokens: int | None = None,
        prefix: str | list[str] | None = None,
        scores: bool = False,
        split: bool = False,
        suppress: Sequence[int | str] = (),
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int | None = None,
        min_new_tokens: int = 0,
    ) -> Any:
        """The translation of a sentence, or of each sentence of a list.

        Args:
          sources: the sentences. An empty one has an empty translation, or its prefix.
          beam_size: the number of beams (4 by default); 1 is greedy decoding.
          length_penalty: how strongly longer translations are favoured; see `decoding.Beam`.
          num_return: the number of translations of each sentence, which come as a list of `Scored`,
            best first.
          temperature: above 0, translations are drawn at random; see `decoding.Sampling`.
          top_k, top_p: which tokens may be drawn.
          seed: of the draw. Equal seeds give a sentence equal translations, in any batch; equal
            sentences of one call get translations of their own, of which the first is the one that
            the sentence gets by itself.
          max_new_tokens: length limit of a translation, in tokens; by default more than twice the
            source, up to the model's `max_len`.
          prefix: what the translation must begin with; a list has one for each sentence.
          scores: give `Scored` instead of strings. The score is what the model gave the tokens,
            those of the prefix and the end if there is one included, when it wrote them.
          split: each of the `sources` is a text of several sentences, in which abbreviations are
            read as English ones. They are translated one by one; line breaks and the space between
            sentences are kept. Takes neither num_return, prefix nor scores. `max_new_tokens` is
            that of a sentence.
          suppress, repetition_penalty, no_repeat_ngram, min_new_tokens: what may not be written,
            see `decoding.Controls`. Of `suppress` a string is one token. They see the translation
            with its prefix, not the source. In beam search a penalty applies to log-probabilities
            and counts in the score.

        Raises:
          ValueError: a sentence is longer than the model's `max_len`, a prefix leaves no room in
            the translation, or an option is invalid.
          NoAnswerError: the model's numbers are NaN or infinite.
        """
        repeats = 1 if num_return is None else num_return
        method = _method(beam_size, length_penalty, repeats, temperature, top_k, top_p)
        texts = [sources] if isinstance(sources, str) else self.several(sources)
        if split:
            if num_return is not None or prefix is not None or scores:
                raise ValueMistake("split=True takes neither num_return, prefix nor scores")
            for text in texts:
                self.encode(text)  # refuses what is not a text
            translate = functools.partial(
                self,
                beam_size=beam_size,
                length_penalty=length_penalty,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
                max_new_tokens=max_new_tokens,
                suppress=suppress,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram=no_repeat_ngram,
                min_new_tokens=min_new_tokens,
            )
            whole = by_sentence(texts, translate)
            return whole[0] if isinstance(sources, str) else whole
        controls = Controls(
            suppress=self.token_ids(suppress),
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            min_new_tokens=min_new_tokens,
        )
        starts = prefix if isinstance(prefix, list) else [prefix] * len(texts)
        if len(starts) != len(texts):
            raise ValueMistake(
                f"{len(starts)} prefixes for {len(texts)} sentences; give one for each, or one"
            )
        answers = self._translate(
            [self._limited(text, 0) for text in texts],
            [self._limited(start, 1) if start else [] for start in starts],
            method,
            repeats,
            seed,
            max_new_tokens,
            "all" if scores or num_return is not None else "nothing",
            controls.bans(self.module.config.output_size) if controls else None,
        )
        decode = self._text_tokenizer.decode
        scored = [[Scored(decode(ids), score) for ids, score in each] for each in answers]
        results: list[Any] = [
            each if num_return is not None else each[0] if scores else each[0].text
            for each in scored
        ]
        return results[0] if isinstance(sources, str) else results

    @overload
    def score(self, sources: str, targets: str) -> float: ...
    @overload
    def score(self, sources: Texts, targets: Texts) -> list[float]: ...
    def score(self, sources: str | Texts, targets: str | Texts) -> float | list[float]:
        """The score of a given translation of a sentence, or of each pair from two lists.

        A score is the sum of the log-probabilities (in nats) of the target's tokens and of the end
        of the sequence.

        Raises:
          TypeError: one argument is a string and the other a list.
          ValueError: the lists have different lengths, or a sentence is too long.
        """
        pairs = self._pairs("score", sources, targets)
        scores = self._score(pairs[0], [[*ids, EOS] for ids in pairs[1]])
        return scores[0] if isinstance(sources, str) else scores

    @overload
    def align(self, source: str, target: str, *, layer: int | None = None) -> Alignment: ...
    @overload
    def align(
        self, source: Texts, target: Texts, *, layer: int | None = None
    ) -> list[Alignment]: ...
    def align(
        self, source: str | Texts, target: str | Texts, *, layer: int | None = None
    ) -> Alignment | list[Alignment]:
        """How much each token of a sentence counts for each of a given translation, or of pairs.

        Args:
          source: a sentence, or a list.
          target: its translation, or one for each sentence of the list.
          layer: the decoder layer whose attention is taken, from 0, negative from the last; None:
            the mean of all.

        Raises:
          TypeError: one argument is a string and the other a list.
          ValueError: the lists have different lengths, a sentence is too long, there is no such
            layer, or the model has no attention to the source (Reformers compute theirs in a loop
            that shows none).
        """
        sources, targets = self._pairs("align", source, target)
        found: list[Alignment | None] = [None] * len(sources)
        ends = [[*ids, EOS] for ids in targets]
        for batch, *arguments in self._scoring(sources, ends):
            weights = np.asarray(source_weights(self.module, self.variables, *arguments))
            layers = range(len(weights))
            if not layers:
                raise ValueMistake(
                    f"{self.card.name!r} shows no attention to the source; the Transformer and the "
                    "LSTM with attention do"
                )
            if layer is not None and layer not in range(-len(layers), len(layers)):
                raise ValueMistake(
                    f"layer is {layer}; {self.card.name!r} has the layers 0 to {layers[-1]}"
                )
            mean = weights.mean(axis=0) if layer is None else weights[layer]
            for row, index in enumerate(batch.indices):
                ids = sources[index]
                found[index] = Alignment(
                    tuple(self._shown(id_) for id_ in ids),
                    tuple(self._shown(id_) for id_ in ends[index]),
                    mean[row, : len(ends[index]), : len(ids)],
                )
        return found[0] if isinstance(source, str) else found  # type: ignore[return-value]

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        yield from self(list(items))

    def sample_inputs(self) -> dict[str, Any]:
        return dict(samples.texts(self._text_tokenizer, self.max_len))

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        texts = list(inputs)
        answers = self(texts, beam_size=1, max_new_tokens=CHECKED)
        scores = self.score(texts, texts)
        return [
            {"output": answer, "score": score}
            for answer, score in zip(answers, scores, strict=True)
        ]

    def _translate(
        self,
        sources: list[Ids],
        starts: list[Ids],
        method: Beam | Sampling,
        repeats: int,
        seed: int,
        most: int | None,
        counted: Counted,
        bans: Bans | None,
    ) -> list[list[tuple[Ids, float]]]:
        """For each source the tokens and scores of its translations.

        Args:
          sources: the sources.
          starts: for each source what its translations must begin with.
          method: how they are found.
          repeats: translations of each source.
          seed: of the draw.
          most: the most tokens of a translation; None: it depends on the source.
          counted: which tokens count in the scores; beam search counts all.
          bans: what may not be chosen.
        """
        if most is not None and most < 1:
            raise ValueMistake(f"max_new_tokens is {most}; it must be 1 or more")
        answers: list[list[tuple[Ids, float]]] = [[] for _ in sources]
        pairs = list(zip(sources, starts, strict=True))
        filled = [index for index, (source, start) in enumerate(pairs) if source or start]
        if len(filled) < len(pairs):
            score = self._score([[]], [[EOS]])[0] if counted != "nothing" else 0.0
            answers = [[([], score)] * repeats for _ in sources]
        sources, starts = [sources[index] for index in filled], [starts[index] for index in filled]
        if isinstance(method, Beam):
            found = self._search(sources, starts, method, repeats, most, bans)
        else:
            keys = draw_keys(seed, [pairs[index] for index in filled], repeats)
            found = self._draw(sources, starts, method.choice(), repeats, keys, most, counted, bans)
        for index, answer in zip(filled, found, strict=True):
            answers[index] = answer
        return answers

    def _search(
        self,
        sources: list[Ids],
        starts: list[Ids],
        beam: Beam,
        repeats: int,
        most: int | None,
        bans: Bans | None,
    ) -> list[list[tuple[Ids, float]]]:
        """The `repeats` best translations of each source, by beam search."""
        answers: list[list[tuple[Ids, float]]] = [[] for _ in sources]
        spread = most or 2 * SHORTEST
        width = -(-beam.size // BEAM_SIZE)  # a full batch has 64 rows of four beams
        for batch in self._batches(sources, starts, spread=spread, width=width):
            given = [starts[index] for index in batch.indices]
            until, room = self._room(batch.length, given, most)
            tokens, totals = _beam(
                self.module,
                self.variables,
                self._inputs([sources[index] for index in batch.indices], batch.rows, batch.length),
                prefixes(given, batch.rows, room),
                float(beam.length_penalty),
                until,
                bans,
                size=beam.size,
                room=room,
            )
            tokens, totals = np.asarray(tokens)[..., :until], self.checked(totals)
            for row, (index, start) in enumerate(zip(batch.indices, given, strict=True)):
                ids = [_answer(each, start) for each in tokens[row, :repeats]]
                answers[index] = list(zip(ids, totals[row, :repeats].tolist(), strict=True))
        return answers

    def _draw(
        self,
        sources: list[Ids],
        starts: list[Ids],
        choice: Choice,
        repeats: int,
        keys: Array,
        most: int | None,
        counted: Counted,
        bans: Bans | None,
    ) -> list[list[tuple[Ids, float]]]:
        """`repeats` translations of each source, drawn by `keys`, or greedy."""
        answers: list[tuple[Ids, float]] = [([], 0.0)] * (len(sources) * repeats)
        each = [index for index in range(len(sources)) for _ in range(repeats)]
        for batch in self._batches(
            [sources[item] for item in each],
            [starts[item] for item in each],
            spread=most or 2 * SHORTEST,
            few=FEW_ROWS if repeats == 1 else 1,
        ):
            items, rows = sources_of([each[index] for index in batch.indices], batch.rows)
            number = batch.rows if rows is None else power_of_two(len(items))
            given = [starts[item] for item in items]
            until, room = self._room(batch.length, given, most)
            state = _sample(
                self.module,
                self.variables,
                self._inputs([sources[item] for item in items], number, batch.length),
                prefixes(given, number, room),
                rows,
                batch.fill(keys),
                until,
                choice,
                bans,
                room=room,
                counted=counted,
            )
            tokens, scores = np.asarray(state.tokens)[:, :until], self.checked(state.scores)
            for row, index in enumerate(batch.indices):
                answers[index] = _answer(tokens[row], starts[each[index]]), float(scores[row])
        return [answers[first : first + repeats] for first in range(0, len(answers), repeats)]

    def _score(self, sources: list[Ids], targets: list[Ids]) -> list[float]:
        scores = [0.0] * len(sources)
        for batch, *arguments in self._scoring(sources, targets):
            sizes = batch.lengths(targets)
            values = generation.scores(self.module, self.variables, tuple(arguments), sizes)
            for index, value in zip(batch.indices, self.checked(values), strict=False):
                scores[index] = float(value)
        return scores

    def _pairs(
        self, method: str, sources: str | Texts, targets: str | Texts
    ) -> tuple[list[Ids], list[Ids]]:
        """The ids of sentences and of their translations, given as two strings or two lists."""
        if isinstance(sources, str) != isinstance(targets, str):
            raise TypeMistake(
                f"{method} takes two strings or two lists of strings, not one of each"
            )
        sources = [sources] if isinstance(sources, str) else self.several(sources)
        targets = [targets] if isinstance(targets, str) else self.several(targets)
        if len(sources) != len(targets):
            raise ValueMistake(
                f"{len(sources)} sources and {len(targets)} targets; give one target for each"
            )
        return [self._limited(text, 0) for text in sources], [
            self._limited(text, 1) for text in targets
        ]

    def _scoring(
        self, sources: list[Ids], targets: list[Ids]
    ) -> Iterator[tuple[Batch, Array, Array]]:
        """Batches of pairs, with what the module is called with: int32 [rows, S] and [rows, T]."""
        exact, padding = self.card.config.exact_lengths, self.card.config.padding
        for batch in self._batches(sources, targets, spread=0 if exact else UNLIMITED):
            own = [targets[index] for index in batch.indices]
            length = len(own[0]) if exact else batch.length
            inputs = self._inputs(
                [sources[index] for index in batch.indices], batch.rows, batch.length
            )
            yield batch, inputs, padded(own, batch.rows, length, padding)

    def _shown(self, id_: int) -> str:
        return END if id_ == EOS else self._text_tokenizer.decode([id_])

    def _batches(
        self,
        sources: list[Ids],
        targets: list[Ids],
        *,
        spread: int,
        width: int = 1,
        few: int = FEW_ROWS,
    ) -> Iterator[Batch]:
        """Batches of sources with targets or their beginnings, see `batching.batches`.

        The length is that of the longer one. If padding may not be added to the sources, those of a
        batch are all of one length.
        """
        exact = self.card.config.exact_lengths
        by_length: dict[int, list[int]] = {}
        for index, source in enumerate(sources):
            by_length.setdefault(len(source) if exact else 0, []).append(index)
        for indices in by_length.values():
            begun = [len(targets[index]) for index in indices]
            lengths = [max(len(sources[index]), n) for index, n in zip(indices, begun, strict=True)]
            for batch in batches(
                lengths, self.max_len, begun=begun, spread=spread, width=width, few=few
            ):
                yield batch._replace(indices=[indices[place] for place in batch.indices])

    def _inputs(self, sources: list[Ids], rows: int, length: int) -> Array:
        """The sources of a batch of this length as int32 [rows, S]."""
        width = max(len(sources[0]), 1) if self.card.config.exact_lengths else length
        return padded(sources, rows, width, self.card.config.padding)

    def _room(self, length: int, starts: list[Ids], most: int | None) -> tuple[int, int]:
        """The most tokens of a translation, and the room for them, which is of a few sizes.

        Args:
          length: of the batch.
          starts: what the translations must begin with.
          most: the most tokens that the caller allows.
        """
        until = min(most or 2 * length + 16, self.max_len)
        longest = max(map(len, starts))
        if longest >= until:
            raise ValueMistake(
                f"a prefix of {longest} tokens leaves no room in a translation of {until}; give a "
                "shorter one, or more max_new_tokens"
            )
        # Without a number of the caller's there are few sizes as it is.
        return until, until if most is None else min(power_of_two(until), self.max_len)

    def _limited(self, text: str, more: int) -> Ids:
        """The ids of a text, which must fit into the model with `more` tokens after them."""
        ids = self.encode(text)
        if len(ids) + more > self.max_len:
            raise ValueMistake(
                f"a sentence of {len(ids)} tokens is longer than this model's "
                f"{self.card.config.described_limit}: {text[:40]!r}…; split it into shorter ones "
                "(split=True, `zoo translate --split`, where it is several sentences)"
            )
        return ids


def _method(
    beam_size: int | None,
    length_penalty: float,
    repeats: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> Beam | Sampling:
    """The way of decoding that the options ask for."""
    if repeats < 1:
        raise ValueMistake(f"num_return is {repeats}; it must be 1 or more")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature > 0:
        if beam_size is not None and beam_size > 1:
            raise ConfigError(
                f"beam_size={beam_size} and temperature={temperature} exclude each other: beam "
                "search does not draw at random"
            )
        return sampling
    if top_k is not None or top_p is not None:
        raise ConfigError("top_k and top_p are for sampling: give a temperature above 0 too")
    beam = Beam(size=BEAM_SIZE if beam_size is None else beam_size, length_penalty=length_penalty)
    if repeats > beam.size:
        raise ConfigError(
            f"num_return={repeats} is more than beam_size={beam.size}; raise beam_size, or "
            "sample with a temperature"
        )
    return sampling if beam.size == 1 else beam


def _answer(tokens: Array, start: Ids) -> Ids:
    """A translation that begins with `start`, without its end."""
    return [*start, *until_end(tokens[len(start) :])]


@functools.partial(jax.jit, static_argnames=("module", "room", "counted"))
def _sample(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    prefix: Prefix | None,
    rows: jax.Array | None,
    keys: jax.Array,
    until: jax.Array,
    choice: Choice,
    bans: Bans | None,
    *,
    room: int,
    counted: Counted,
) -> Sampled:
    cache = module.apply(variables, inputs, room, method="start")
    step = generation.step(module, variables)
    state = decoding.begin(step, cache, inputs.shape[0], room, prefix=prefix, counted=counted)
    if rows is not None:
        state = state.rows(rows)
    keys = jax_keys(keys)
    return decoding.sample(
        step, state, keys, choice, eos_id=EOS, until=until, counted=counted, bans=bans
    )


@functools.partial(jax.jit, static_argnames=("module", "size", "room"))
def _beam(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    prefix: Prefix | None,
    length_penalty: jax.Array,
    until: jax.Array,
    bans: Bans | None,
    *,
    size: int,
    room: int,
) -> tuple[jax.Array, jax.Array]:
    cache = module.apply(variables, inputs, room, method="start")
    return decoding.beam_search(
        generation.step(module, variables),
        cache,
        length_penalty,
        size=size,
        batch=inputs.shape[0],
        length=room,
        eos_id=EOS,
        until=until,
        prefix=prefix,
        bans=bans,
    )
