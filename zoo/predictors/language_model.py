"""Text -> more text, and the probability of a text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack, overload

import jax
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.config import ValueMistake
from zoo.decoding import Prefix, Sampled, Sampling
from zoo.predictors import generation, samples
from zoo.predictors.base import Predictor
from zoo.predictors.batching import Array, batches, power_of_two
from zoo.predictors.generation import EOS, Ids, Scored, prefixes, row_keys, until_end
from zoo.tokenizers import ByteTokenizer

Texts: TypeAlias = list[str] | tuple[str, ...]

PIECE = 8
"""Tokens between two pieces of a stream."""

PRINTED = 100
"""Most new tokens of a printed answer."""

CHECKED = 32
"""Most new tokens in the answers to sample inputs."""


class Drawing(TypedDict, total=False):
    """The options of `generate` that do not change the type of its answer."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int


class LanguageModel(Predictor):
    """Continues texts, and scores them."""

    task: ClassVar[str] = "language_modeling"
    command: ClassVar[str] = "generate"

    @overload
    def generate(
        self, prompt: str = "", *, stream: Literal[True], **options: Unpack[Drawing]
    ) -> Iterator[str]: ...
    @overload
    def generate(self, prompt: str = "", **options: Unpack[Drawing]) -> str: ...
    @overload
    def generate(self, prompt: Texts, **options: Unpack[Drawing]) -> list[str]: ...
    @overload
    def generate(
        self, prompt: str = "", *, scores: Literal[True], **options: Unpack[Drawing]
    ) -> Scored: ...
    @overload
    def generate(
        self, prompt: Texts, *, scores: Literal[True], **options: Unpack[Drawing]
    ) -> list[Scored]: ...
    @overload
    def generate(
        self, prompt: str = "", *, num_return: int, **options: Unpack[Drawing]
    ) -> list[Scored]: ...
    @overload
    def generate(
        self, prompt: Texts, *, num_return: int, **options: Unpack[Drawing]
    ) -> list[list[Scored]]: ...
    def generate(
        self,
        prompt: str | Texts = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return: int | None = None,
        seed: int = 0,
        scores: bool = False,
        stream: bool = False,
    ) -> Any:
        """The text that follows a prompt, or each prompt of a list, without the prompt.

        Args:
          prompt: what comes before; it may be empty.
          max_new_tokens: length limit of the continuation, in tokens. It is shorter if the model
            ends the text.
          temperature, top_k, top_p: how tokens are drawn, see `decoding.Sampling`. Temperature 0
            takes the most probable token each time.
          num_return: the number of continuations of each prompt, which come as a list of `Scored`.
          seed: of the draw. Equal seeds give a prompt equal continuations, in any batch.
          scores: give `Scored` instead of strings. The score is that of prompt and continuation
            together, and of the end if the model ended the text.
          stream: give an iterator of pieces that join to the continuation; for one prompt.

        Raises:
          ValueError: prompt and continuation together are longer than the model's `max_len`, or an
            option is invalid.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        repeats = 1 if num_return is None else num_return
        if repeats < 1 or max_new_tokens < 1:
            raise ValueMistake(
                f"num_return is {num_return}, max_new_tokens {max_new_tokens}; both must be 1 or "
                "more"
            )
        if stream:
            if not isinstance(prompt, str) or num_return is not None or scores:
                raise ValueMistake(
                    "stream=True takes one prompt, and neither num_return nor scores"
                )
            ids = self._limited(self.encode(prompt), max_new_tokens)
            return self._stream(ids, sampling, max_new_tokens, seed)
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        prompts = [self._limited(self.encode(text), max_new_tokens) for text in texts]
        answers = self._generate(prompts, sampling, max_new_tokens, repeats, seed)
        results: list[Any] = []
        for start, continuations in zip(prompts, answers, strict=True):
            written = [self._continuation(start, answer) for answer in continuations]
            if not scores and num_return is None:
                results.append(written[0])
                continue
            # A continuation of full length was cut off there, so it has no end to score.
            whole = [
                start + (self._ended(answer) if len(answer) < max_new_tokens else answer)
                for answer in continuations
            ]
            scored = list(map(Scored, written, self._score(whole)))
            results.append(scored[0] if num_return is None else scored)
        return results[0] if isinstance(prompt, str) else results

    @overload
    def score(self, texts: str) -> float: ...
    @overload
    def score(self, texts: Texts) -> list[float]: ...
    def score(self, texts: str | Texts) -> float | list[float]:
        """The sum of the log-probabilities (in nats) of a text's tokens, or of each text's.

        The end of the text counts if the model knows one (`card.preprocessing`: `eos`).

        Raises:
          ValueError: a text is longer than the model's `max_len`.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        scores = self._score([self._limited(self._ended(self.encode(text)), 0) for text in several])
        return scores[0] if isinstance(texts, str) else scores

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        for item in items:
            new = min(PRINTED, self.max_len - len(self.encode(item)))
            yield item + self.generate(item, max_new_tokens=new, temperature=0.8)

    def sample_inputs(self) -> dict[str, Any]:
        own, texts = self._own_prompt(), samples.texts(self._text_tokenizer, self.max_len)
        return {own: own} | texts

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        new = min(CHECKED, self.max_len - self.max_len // 2)
        answers = self.generate(list(inputs), max_new_tokens=new, temperature=0.0)
        scores = self.score(list(inputs))
        return [
            {"output": answer, "score": score}
            for answer, score in zip(answers, scores, strict=True)
        ]

    def _own_prompt(self) -> str:
        """A text of tokens from the middle of the vocabulary, which any model can continue."""
        tokenizer = self._text_tokenizer
        if isinstance(tokenizer, ByteTokenizer):  # those in the middle are not characters
            return next(iter(samples.texts(tokenizer, self.max_len)))
        middle = self.module.config.vocab_size // 2
        return tokenizer.decode([middle, middle + 1, middle + 2])

    def _generate(
        self, prompts: list[Ids], sampling: Sampling, new: int, repeats: int, seed: int
    ) -> list[list[Ids]]:
        """`repeats` continuations of each prompt, of at most `new` tokens."""
        answers: list[list[Ids]] = [[] for _ in prompts]
        for batch in batches([len(ids) for ids in prompts], self.max_len):
            starts = [prompts[index] for index in batch.indices]
            rows = batch.rows * repeats
            prefix = prefixes(starts, batch.rows, repeats)
            state = self._begin(rows, batch.length + new)
            until = max(map(len, starts)) + new
            keys = row_keys(seed, rows, repeats)
            state = self._advance(state, prefix, keys, until, sampling)
            tokens = np.asarray(state.tokens).reshape(batch.rows, repeats, -1)
            for row, index in enumerate(batch.indices):
                first = len(prompts[index])
                answers[index] = [self._cut(answer[first : first + new]) for answer in tokens[row]]
        return answers

    def _stream(self, prompt: Ids, sampling: Sampling, new: int, seed: int) -> Iterator[str]:
        length = max(power_of_two(len(prompt)), 1)
        prefix = prefixes([prompt], 1, 1)
        state, keys, shown = self._begin(1, length + new), row_keys(seed, 1, 1), ""
        last = len(prompt) + new
        until = len(prompt)
        while until < last and not bool(state.done.all()):
            until = min(until + PIECE, last)
            state = self._advance(state, prefix, keys, until, sampling)
            # After the end of the sequence there are zeros; `_cut` ends before it.
            answer = self._cut(np.asarray(state.tokens)[0, len(prompt) : until])
            whole = self._continuation(prompt, answer)
            # A character of several tokens, or the number that encodes one, may be incomplete.
            ready = re.sub(r"(\N{REPLACEMENT CHARACTER}+|\\\d*)\Z", "", whole)
            if until < last and not bool(state.done.all()):
                whole = ready
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole

    def _score(self, texts: list[Ids]) -> list[float]:
        scores = [0.0] * len(texts)
        exact = self.card.config.exact_lengths
        for batch in batches([len(ids) for ids in texts], self.max_len, exact=exact):
            arguments, sizes = (batch.pad(texts),), batch.lengths(texts)
            values = generation.scores(self.module, self.variables, arguments, sizes)
            for index, value in zip(batch.indices, np.asarray(values), strict=False):
                scores[index] = float(value)
        return scores

    def _begin(self, rows: int, length: int) -> Sampled:
        # Room in a few sizes only, so that few programs are compiled.
        room = min(max(power_of_two(length), 64), self.max_len)
        state: Sampled = _begin(self.module, self.variables, rows=rows, length=room)
        return state

    def _advance(
        self,
        state: Sampled,
        prefix: Prefix | None,
        keys: jax.Array,
        until: int,
        sampling: Sampling,
    ) -> Sampled:
        """Goes on until `until` tokens are chosen; `state` is donated."""
        following: Sampled = _advance(
            self.module,
            self.variables,
            state,
            prefix,
            keys,
            until,
            sampling=sampling,
            eos_id=self._eos,
        )
        return following

    @property
    def _eos(self) -> int:
        """The end of a text; -1 for a model that was trained on one endless text."""
        return EOS if self.card.preprocessing.get("eos", True) else -1

    def _ended(self, ids: Ids) -> Ids:
        return [*ids, EOS] if self._eos >= 0 else ids

    def _cut(self, tokens: Array) -> Ids:
        return until_end(tokens) if self._eos >= 0 else tokens.tolist()

    def _continuation(self, prompt: Ids, answer: Ids) -> str:
        """The continuation as text, with whatever joins it to the prompt, such as a space."""
        decode = self._text_tokenizer.decode
        before, whole = decode(prompt), decode(prompt + answer)
        # If the prompt ends inside a character or an escape, the answer changes the text before it.
        return whole[len(before) :] if whole.startswith(before) else decode(answer)

    def _limited(self, ids: Ids, more: int) -> Ids:
        """The ids, which must fit into the model with `more` tokens after them."""
        if len(ids) + more > self.max_len:
            wanted = f"{len(ids)} tokens and {more} more" if more else f"{len(ids)} tokens"
            raise ValueMistake(
                f"{wanted} are above this model's {self.card.config.described_limit}; give a "
                f"shorter text{' or fewer max_new_tokens' if more else ''}"
            )
        return ids


@functools.partial(jax.jit, static_argnames=("module", "rows", "length"))
def _begin(module: nn.Module, variables: Any, *, rows: int, length: int) -> Sampled:
    return decoding.begin(module.apply(variables, rows, length, method="start"), rows, length)


@functools.partial(
    jax.jit, static_argnames=("module", "sampling", "eos_id"), donate_argnames="state"
)
def _advance(
    module: nn.Module,
    variables: Any,
    state: Sampled,
    prefix: Prefix | None,
    keys: jax.Array,
    until: jax.Array,
    *,
    sampling: Sampling,
    eos_id: int,
) -> Sampled:
    step = generation.step(module, variables)
    return decoding.sample(step, state, keys, sampling, eos_id=eos_id, prefix=prefix, until=until)
