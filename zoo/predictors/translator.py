"""Sentences of one language -> sentences of another."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.config import ConfigError
from zoo.decoding import Beam, Prefix, Sampling
from zoo.predictors import generation
from zoo.predictors.base import Predictor
from zoo.predictors.generation import EOS, Scored, batches, padded, row_keys, until_end

BEAM_SIZE = 4
"""Beams where nothing is said."""

Ids = list[int]


class Translator(Predictor):
    """Sentences -> translations, by beam search unless something else is asked for."""

    def __call__(
        self,
        sources: str | list[str] | tuple[str, ...],
        *,
        beam_size: int | None = None,
        length_penalty: float = 0.6,
        num_return: int = 1,
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
          beam_size: sequences that beam search follows (4 by default); 1 is greedy decoding.
          length_penalty: how much longer translations are favoured; see `decoding.Beam`.
          num_return: best translations of each sentence; with several they come as `Scored`.
          temperature: above 0 draws translations at random instead, see `decoding.Sampling`.
          top_k, top_p: what they are drawn from.
          seed: of the draw. Equal seeds give a sentence equal translations, in any batch.
          max_new_tokens: longest translation, in tokens; by default more than twice the source, up
            to the model's `max_len`.
          prefix: what the translation must begin with; a list has one for each sentence.
          scores: whether to give `Scored` instead of strings.

        Returns:
          A string; `Scored` with `scores`; a list of `Scored`, best first, with `num_return` > 1.
          For a list of sentences a list of these.

        Raises:
          ValueError: a sentence is longer than the model's `max_len`, a prefix than the translation
            may be, or an option does not fit.
        """
        method = _method(beam_size, length_penalty, num_return, temperature, top_k, top_p)
        single = isinstance(sources, str)
        texts = [sources] if isinstance(sources, str) else list(sources)
        prefixes = [prefix] * len(texts) if not isinstance(prefix, list) else prefix
        if len(prefixes) != len(texts):
            raise ValueError(
                f"{len(prefixes)} prefixes for {len(texts)} sentences; give one for each, or one"
            )
        found = self._translate(
            [self._source(text) for text in texts],
            [self._prefix(text) for text in prefixes],
            method,
            num_return,
            seed,
            max_new_tokens,
            scores=scores or num_return > 1,
        )
        plain = [self._shown(answers, num_return, scores) for answers in found]
        return plain[0] if single else plain

    def score(
        self, sources: str | list[str] | tuple[str, ...], targets: str | list[str] | tuple[str, ...]
    ) -> float | list[float]:
        """The score of a given translation of a sentence, or of each pair of two lists.

        A score is the sum of the log-probabilities of the target's tokens, end of sequence
        included.

        Raises:
          TypeError: one string and one list.
          ValueError: two lists of different length, or a sentence that is too long.
        """
        if isinstance(sources, str) or isinstance(targets, str):
            if not (isinstance(sources, str) and isinstance(targets, str)):
                raise TypeError("score takes two strings or two lists of strings, not one of each")
            return self._score([self._source(sources)], [[*self._target(targets), EOS]])[0]
        if len(sources) != len(targets):
            raise ValueError(
                f"{len(sources)} sources and {len(targets)} targets; give one target for each"
            )
        return self._score(
            [self._source(text) for text in sources],
            [[*self._target(text), EOS] for text in targets],
        )

    def check(self) -> dict[str, Any]:
        text = self.check_text
        answer = self(text, beam_size=1, max_new_tokens=32)
        return {"input": text, "output": answer, "score": self.score(text, text)}

    def show(self, item: str) -> str:
        return str(self(item))

    def _translate(
        self,
        sources: list[Ids],
        prefixes: list[Ids],
        method: Beam | Sampling,
        num_return: int,
        seed: int,
        max_new_tokens: int | None,
        *,
        scores: bool,
    ) -> list[list[tuple[Ids, float]]]:
        """For each source the tokens and scores (0 where not asked for) of its translations."""
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; it is 1 or more")
        alone = self.card.config.reads_padding
        if alone and len(sources) > 1:
            pairs = zip(sources, prefixes, strict=True)
            rest = method, num_return, seed, max_new_tokens
            return [self._translate([s], [p], *rest, scores=scores)[0] for s, p in pairs]
        found: list[list[tuple[Ids, float]]] = [[([], 0.0)] * num_return for _ in sources]
        real = [index for index, ids in enumerate(sources) if ids]
        lengths = [max(len(sources[index]), len(prefixes[index])) for index in real]
        for batch in batches(lengths, self.max_len):
            items = [real[index] for index in batch.indices]
            width = len(sources[items[0]]) if alone else batch.length
            inputs = padded([sources[item] for item in items], batch.rows, width)
            starts = [prefixes[item] for item in items]
            length = min(max_new_tokens or 2 * batch.length + 16, self.max_len)
            if max(map(len, starts)) >= length:
                raise ValueError(
                    f"a prefix of {max(map(len, starts))} tokens leaves nothing to write in a "
                    f"translation of {length}; give a shorter one, or more max_new_tokens"
                )
            if isinstance(method, Beam):
                prefix = generation.prefixes(starts, batch.rows, 1)
                tokens, totals = _beam(
                    self.module, self.variables, inputs, prefix, beam=method, length=length
                )
                values = np.asarray(totals)[:, :num_return].tolist()
            else:
                tokens = self._draw(inputs, starts, method, num_return, seed, length)
                values = None
            for row, item in enumerate(items):
                ids = [until_end(answer) for answer in np.asarray(tokens[row])[:num_return]]
                if values is not None:
                    own = values[row]
                elif scores:
                    # One that fills its room was cut off there: no end belongs to it.
                    whole = [[*answer, EOS] if len(answer) < length else answer for answer in ids]
                    own = self._score([sources[item]] * num_return, whole)
                else:
                    own = [0.0] * num_return
                found[item] = list(zip(ids, own, strict=True))
        return found

    def _draw(
        self,
        inputs: np.ndarray[Any, Any],
        starts: list[Ids],
        how: Sampling,
        each: int,
        seed: int,
        length: int,
    ) -> jax.Array:
        """Tokens [rows, each, length] by sampling, or greedily."""
        rows = len(inputs)
        prefix = generation.prefixes(starts, rows, each)
        keys = row_keys(seed, rows * each, each)
        inputs = inputs.repeat(each, axis=0)
        tokens: jax.Array = _sample(
            self.module, self.variables, inputs, prefix, keys, how=how, length=length
        )
        return tokens.reshape(rows, each, length)

    def _score(self, sources: list[Ids], targets: list[Ids]) -> list[float]:
        if self.card.config.reads_padding:
            return [self._score_alone(*pair) for pair in zip(sources, targets, strict=True)]
        scores = [0.0] * len(sources)
        lengths = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
        for batch in batches(lengths, self.max_len):
            sizes = batch.lengths(targets)
            inputs, outputs = batch.pad(sources), batch.pad(targets)
            values = _scores(self.module, self.variables, inputs, outputs, sizes)
            for index, value in zip(batch.indices, np.asarray(values), strict=False):
                scores[index] = float(value)
        return scores

    def _score_alone(self, source: Ids, target: Ids) -> float:
        """The same with no padding, for a model whose answers would change with it."""
        arrays = (np.array([ids], np.int32) for ids in (source, target))
        values = _scores(self.module, self.variables, *arrays, np.array([len(target)], np.int32))
        return float(values[0])

    def _shown(self, answers: list[tuple[Ids, float]], num_return: int, scores: bool) -> Any:
        if self.tokenizer is None:
            raise ValueError(f"the card {self.card.name!r} has no tokenizer")
        texts = [Scored(self.tokenizer.decode(ids), score) for ids, score in answers]
        if num_return > 1:
            return texts
        return texts[0] if scores else texts[0].text

    def _source(self, text: str) -> Ids:
        return self._limited(self.encode(text), text, 0)

    def _target(self, text: str) -> Ids:
        return self._limited(self.encode(text), text, 1)

    def _prefix(self, text: str | None) -> Ids:
        return self._target(text) if text else []

    def _limited(self, ids: Ids, text: str, more: int) -> Ids:
        if len(ids) + more > self.max_len:
            raise ValueError(
                f"a sentence of {len(ids)} tokens is longer than this model's {self.limit}: "
                f"{text[:40]!r}…; split it into shorter ones"
            )
        return ids


def _method(
    beam_size: int | None,
    length_penalty: float,
    num_return: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> Beam | Sampling:
    """What the options ask for."""
    if num_return < 1:
        raise ValueError(f"num_return is {num_return}; it is 1 or more")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature > 0:
        if beam_size is not None and beam_size > 1:
            raise ConfigError(
                f"beam_size={beam_size} and temperature={temperature} exclude each other: "
                "beam search leaves nothing to chance"
            )
        return sampling
    if top_k is not None or top_p is not None:
        raise ConfigError("top_k and top_p are for sampling: give a temperature above 0 too")
    beam = Beam(size=BEAM_SIZE if beam_size is None else beam_size, length_penalty=length_penalty)
    if num_return > beam.size:
        raise ConfigError(
            f"num_return={num_return} is more than beam_size={beam.size}; raise beam_size, or "
            "sample with a temperature"
        )
    return sampling if beam.size == 1 else beam


def _step(module: nn.Module, variables: Any) -> decoding.Step:
    def step(tokens: jax.Array, cache: Any) -> Any:
        return module.apply(variables, tokens[..., None], cache, method="extend")

    return step


@functools.partial(jax.jit, static_argnames=("module", "how", "length"))
def _sample(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    prefix: Prefix | None,
    keys: jax.Array,
    *,
    how: Sampling,
    length: int,
) -> jax.Array:
    cache = module.apply(variables, inputs, length, method="start")
    state = decoding.begin(cache, inputs.shape[0], length)
    step = _step(module, variables)
    return decoding.sample(step, state, keys, how, eos_id=EOS, prefix=prefix).tokens


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
        _step(module, variables),
        cache,
        beam,
        batch=inputs.shape[0],
        length=length,
        eos_id=EOS,
        prefix=prefix,
    )


@functools.partial(jax.jit, static_argnames="module")
def _scores(
    module: nn.Module,
    variables: Any,
    inputs: jax.Array,
    targets: jax.Array,
    lengths: jax.Array,
) -> jax.Array:
    logits = module.apply(variables, inputs, targets, train=False)
    weights = (jnp.arange(targets.shape[1])[None] < lengths[:, None]).astype(jnp.float32)
    return decoding.log_probabilities(jnp.asarray(logits), targets, weights)
