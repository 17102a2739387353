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
from zoo.decoding import Beam, Prefix, Sampling
from zoo.predictors import generation, samples
from zoo.predictors.base import Predictor
from zoo.predictors.batching import Array, batches, padded
from zoo.predictors.generation import EOS, Ids, Scored, row_keys, until_end

Texts: TypeAlias = list[str] | tuple[str, ...]

BEAM_SIZE = 4
"""Default number of beams."""

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
    ) -> Any:
        """The translation of a sentence, or of each sentence of a list.

        Args:
          sources: the sentences. An empty one has an empty translation.
          beam_size: the number of beams (4 by default); 1 is greedy decoding.
          length_penalty: how strongly longer translations are favoured; see `decoding.Beam`.
          num_return: the number of translations of each sentence, which come as a list of `Scored`,
            best first.
          temperature: above 0, translations are drawn at random; see `decoding.Sampling`.
          top_k, top_p: which tokens may be drawn.
          seed: of the draw. Equal seeds give a sentence equal translations, in any batch.
          max_new_tokens: length limit of a translation, in tokens; by default more than twice the
            source, up to the model's `max_len`.
          prefix: what the translation must begin with; a list has one for each sentence.
          scores: give `Scored` instead of strings.

        Raises:
          ValueError: a sentence is longer than the model's `max_len`, a prefix leaves no room in
            the translation, or an option is invalid.
        """
        repeats = 1 if num_return is None else num_return
        method = _method(beam_size, length_penalty, repeats, temperature, top_k, top_p)
        texts = [sources] if isinstance(sources, str) else list(sources)
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
            scores=scores or num_return is not None,
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
        if isinstance(sources, str) != isinstance(targets, str):
            raise TypeMistake("score takes two strings or two lists of strings, not one of each")
        if isinstance(sources, str) and isinstance(targets, str):
            return self._score([self._limited(sources, 0)], [[*self._limited(targets, 1), EOS]])[0]
        if len(sources) != len(targets):
            raise ValueMistake(
                f"{len(sources)} sources and {len(targets)} targets; give one target for each"
            )
        return self._score(
            [self._limited(text, 0) for text in sources],
            [[*self._limited(text, 1), EOS] for text in targets],
        )

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
        prefixes: list[Ids],
        method: Beam | Sampling,
        repeats: int,
        seed: int,
        max_new_tokens: int | None,
        *,
        scores: bool,
    ) -> list[list[tuple[Ids, float]]]:
        """For each source the tokens and scores (0 if not asked for) of its translations."""
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueMistake(f"max_new_tokens is {max_new_tokens}; it must be 1 or more")
        exact = self.card.config.exact_lengths
        if exact and len(sources) > 1:
            pairs = zip(sources, prefixes, strict=True)
            options = method, repeats, seed, max_new_tokens
            return [self._translate([s], [p], *options, scores=scores)[0] for s, p in pairs]
        answers: list[list[tuple[Ids, float]]] = [[([], 0.0)] * repeats for _ in sources]
        filled = [index for index, ids in enumerate(sources) if ids]
        lengths = [max(len(sources[index]), len(prefixes[index])) for index in filled]
        for batch in batches(lengths, self.max_len):
            items = [filled[index] for index in batch.indices]
            width = len(sources[items[0]]) if exact else batch.length
            inputs = padded([sources[item] for item in items], batch.rows, width)
            starts = [prefixes[item] for item in items]
            length = min(max_new_tokens or 2 * batch.length + 16, self.max_len)
            longest = max(map(len, starts))
            if longest >= length:
                raise ValueMistake(
                    f"a prefix of {longest} tokens leaves no room in a translation of {length}; "
                    "give a shorter one, or more max_new_tokens"
                )
            if isinstance(method, Beam):
                tokens, totals = self._search(inputs, starts, method, length)
            else:
                tokens, totals = self._draw(inputs, starts, method, repeats, seed, length), None
            for row, item in enumerate(items):
                ids = [until_end(answer) for answer in np.asarray(tokens[row])[:repeats]]
                values = [0.0] * repeats
                if totals is not None:
                    values = np.asarray(totals[row])[:repeats].tolist()
                elif scores:
                    # A translation of full length was cut off there, so it has no end to score.
                    whole = [[*answer, EOS] if len(answer) < length else answer for answer in ids]
                    values = self._score([sources[item]] * repeats, whole)
                answers[item] = list(zip(ids, values, strict=True))
        return answers

    def _search(
        self, inputs: Array, starts: list[Ids], beam: Beam, length: int
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens [rows, beams, length] and scores [rows, beams] by beam search."""
        prefix = generation.prefixes(starts, len(inputs), 1)
        beams: tuple[jax.Array, jax.Array] = _beam(
            self.module, self.variables, inputs, prefix, beam=beam, length=length
        )
        return beams

    def _draw(
        self,
        inputs: Array,
        starts: list[Ids],
        sampling: Sampling,
        repeats: int,
        seed: int,
        length: int,
    ) -> jax.Array:
        """Tokens [rows, repeats, length] by sampling, or greedily."""
        rows = len(inputs)
        prefix = generation.prefixes(starts, rows, repeats)
        keys = row_keys(seed, rows * repeats, repeats)
        inputs = inputs.repeat(repeats, axis=0)
        tokens: jax.Array = _sample(
            self.module, self.variables, inputs, prefix, keys, sampling=sampling, length=length
        )
        return tokens.reshape(rows, repeats, length)

    def _score(self, sources: list[Ids], targets: list[Ids]) -> list[float]:
        if self.card.config.exact_lengths:
            return [self._score_alone(*pair) for pair in zip(sources, targets, strict=True)]
        scores = [0.0] * len(sources)
        lengths = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
        for batch in batches(lengths, self.max_len):
            arguments, sizes = (batch.pad(sources), batch.pad(targets)), batch.lengths(targets)
            values = generation.scores(self.module, self.variables, arguments, sizes)
            for index, value in zip(batch.indices, np.asarray(values), strict=False):
                scores[index] = float(value)
        return scores

    def _score_alone(self, source: Ids, target: Ids) -> float:
        """The same without padding, for a model whose answers would change with it."""
        arguments = tuple(np.array([ids], np.int32) for ids in (source, target))
        lengths = np.array([len(target)], np.int32)
        return float(generation.scores(self.module, self.variables, arguments, lengths)[0])

    def _limited(self, text: str, more: int) -> Ids:
        """The ids of a text, which must fit into the model with `more` tokens after them."""
        ids = self.encode(text)
        if len(ids) + more > self.max_len:
            raise ValueMistake(
                f"a sentence of {len(ids)} tokens is longer than this model's "
                f"{self.card.config.described_limit}: {text[:40]!r}…; split it into shorter ones"
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


@functools.partial(jax.jit, static_argnames=("module", "sampling", "length"))
def _sample(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    prefix: Prefix | None,
    keys: jax.Array,
    *,
    sampling: Sampling,
    length: int,
) -> jax.Array:
    cache = module.apply(variables, inputs, length, method="start")
    state = decoding.begin(cache, inputs.shape[0], length)
    step = generation.step(module, variables)
    return decoding.sample(step, state, keys, sampling, eos_id=EOS, prefix=prefix).tokens


@functools.partial(jax.jit, static_argnames=("module", "beam", "length"))
def _beam(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    prefix: Prefix | None,
    *,
    beam: Beam,
    length: int,
) -> tuple[jax.Array, jax.Array]:
    cache = module.apply(variables, inputs, length, method="start")
    return decoding.beam_search(
        generation.step(module, variables),
        cache,
        beam,
        batch=inputs.shape[0],
        length=length,
        eos_id=EOS,
        prefix=prefix,
    )
