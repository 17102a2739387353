"""Text -> more text, and the probability of a text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.decoding import Prefix, Sampled, Sampling
from zoo.predictors.base import Predictor, power_of_two
from zoo.predictors.generation import EOS, Scored, batches, prefixes, row_keys, until_end
from zoo.tokenizers import ByteTokenizer

PIECE = 8
"""Tokens between two pieces of a stream."""

Ids = list[int]


class LanguageModel(Predictor):
    """Continues texts, and says how probable a text is."""

    def generate(
        self,
        prompt: str | list[str] | tuple[str, ...] = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return: int = 1,
        seed: int = 0,
        scores: bool = False,
        stream: bool = False,
    ) -> Any:
        """The text that follows a prompt, or each prompt of a list; the prompt is not repeated.

        Args:
          prompt: what comes before; it may be empty.
          max_new_tokens: longest continuation; it ends sooner where the model ends the text.
          temperature, top_k, top_p: how tokens are drawn, see `decoding.Sampling`; temperature 0
            takes the most probable token each time.
          num_return: continuations of each prompt; with several they come as `Scored`.
          seed: of the draw. Equal seeds give a prompt equal continuations, in any batch.
          scores: whether to give `Scored` instead of strings; a score is that of the prompt and
            the continuation together, and of the end where the model ended the text.
          stream: for one prompt: an iterator of pieces that join to the continuation.

        Raises:
          ValueError: prompt and continuation are longer than the model's `max_len`, or an option
            does not fit.
        """
        how = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        if num_return < 1 or max_new_tokens < 1:
            raise ValueError(
                f"num_return is {num_return}, max_new_tokens {max_new_tokens}; both are 1 or more"
            )
        if stream:
            if not isinstance(prompt, str) or num_return > 1 or scores:
                raise ValueError(
                    "stream=True goes with one prompt, num_return=1 and scores=False only"
                )
            return self._stream(self._prompt(prompt, max_new_tokens), how, max_new_tokens, seed)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        ids = [self._prompt(text, max_new_tokens) for text in prompts]
        found = self._generate(ids, how, max_new_tokens, num_return, seed)
        shown: list[Any] = []
        for start, answers in zip(ids, found, strict=True):
            texts: list[Any] = [self._continuation(start, answer) for answer in answers]
            if scores or num_return > 1:
                # A continuation that fills its room was cut off there: no end belongs to it.
                whole = [
                    start + (self._ended(answer) if len(answer) < max_new_tokens else answer)
                    for answer in answers
                ]
                values = self._score(whole)
                texts = list(map(Scored, texts, values))
            shown.append(texts if num_return > 1 else texts[0])
        return shown[0] if isinstance(prompt, str) else shown

    @overload
    def score(self, texts: str) -> float: ...
    @overload
    def score(self, texts: list[str] | tuple[str, ...]) -> list[float]: ...
    def score(self, texts: str | list[str] | tuple[str, ...]) -> float | list[float]:
        """The sum of the log-probabilities of a text's tokens, or of each text's of a list.

        The end of the text counts where the model knows one (`card.preprocessing`: `eos`).

        Raises:
          ValueError: a text is longer than the model's `max_len`.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        scores = self._score([self._limited(self._ended(self.encode(text)), 0) for text in several])
        return scores[0] if isinstance(texts, str) else scores

    def check(self) -> dict[str, Any]:
        prompt = self._check_prompt()
        new = min(32, self.max_len - len(self.encode(prompt)))
        answer = self.generate(prompt, max_new_tokens=new, temperature=0.0)
        return {"input": prompt, "output": answer, "score": self.score(prompt)}

    def show(self, item: str) -> str:
        return item + str(self.generate(item, max_new_tokens=100, temperature=0.8))

    def _check_prompt(self) -> str:
        """A text of tokens from the middle of the vocabulary, whatever that is."""
        if isinstance(self.tokenizer, ByteTokenizer):  # those in the middle are no characters
            return self.check_text[: self.max_len // 2]
        size = self.module.config.vocab_size
        return self._decode([size // 2, size // 2 + 1, size // 2 + 2])

    def _generate(
        self, prompts: list[Ids], how: Sampling, new: int, num_return: int, seed: int
    ) -> list[list[Ids]]:
        found: list[list[Ids]] = [[] for _ in prompts]
        for batch in batches([len(ids) for ids in prompts], self.max_len):
            chosen = [prompts[index] for index in batch.indices]
            rows = batch.rows * num_return
            prefix = prefixes(chosen, batch.rows, num_return)
            state = self._begin(rows, batch.length + new)
            until = max(map(len, chosen)) + new
            tokens = _advance(
                self.module,
                self.variables,
                state,
                prefix,
                row_keys(seed, rows, num_return),
                until,
                how=how,
                eos_id=self._eos,
            ).tokens
            answers = np.asarray(tokens).reshape(batch.rows, num_return, -1)
            for row, index in enumerate(batch.indices):
                first = len(prompts[index])
                found[index] = [self._cut(answer[first : first + new]) for answer in answers[row]]
        return found

    def _stream(self, prompt: Ids, how: Sampling, new: int, seed: int) -> Iterator[str]:
        length = max(power_of_two(len(prompt)), 1)
        prefix = prefixes([prompt], 1, 1)
        state, keys, shown = self._begin(1, length + new), row_keys(seed, 1, 1), ""
        last = len(prompt) + new
        until = len(prompt)
        while until < last and not bool(state.done.all()):
            until = min(until + PIECE, last)
            state = _advance(
                self.module,
                self.variables,
                state,
                prefix,
                keys,
                until,
                how=how,
                eos_id=self._eos,
            )
            # After the end of the sequence there are zeros; `_cut` ends before it.
            answer = self._cut(np.asarray(state.tokens)[0, len(prompt) : until])
            whole = self._continuation(prompt, answer)
            # A character of several tokens, or the number that stands for one, may be incomplete.
            ready = re.sub(r"(\N{REPLACEMENT CHARACTER}+|\\\d*)\Z", "", whole)
            if until < last and not bool(state.done.all()):
                whole = ready
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole

    def _score(self, texts: list[Ids]) -> list[float]:
        scores = [0.0] * len(texts)
        exact = self.card.config.reads_padding
        for batch in batches([len(ids) for ids in texts], self.max_len, exact=exact):
            sizes = batch.lengths(texts)
            values = _scores(self.module, self.variables, batch.pad(texts), sizes)
            for index, value in zip(batch.indices, np.asarray(values), strict=False):
                scores[index] = float(value)
        return scores

    def _begin(self, rows: int, length: int) -> Sampled:
        # Room in a few sizes only, so that few programs are compiled.
        room = min(max(power_of_two(length), 64), self.max_len)
        state: Sampled = _begin(self.module, self.variables, rows=rows, length=room)
        return state

    def _ended(self, ids: Ids) -> Ids:
        return [*ids, EOS] if self._eos >= 0 else ids

    def _cut(self, tokens: np.ndarray[Any, Any]) -> Ids:
        return until_end(tokens) if self._eos >= 0 else tokens.tolist()

    def _continuation(self, prompt: Ids, answer: Ids) -> str:
        """The text of an answer, with what stands between it and the prompt, as a space."""
        before, whole = self._decode(prompt), self._decode(prompt + answer)
        # A character or an escape that the prompt ends in the middle of changes what was before.
        return whole[len(before) :] if whole.startswith(before) else self._decode(answer)

    def _decode(self, ids: Ids) -> str:
        if self.tokenizer is None:
            raise ValueError(f"the card {self.card.name!r} has no tokenizer")
        return self.tokenizer.decode(ids)

    @property
    def _eos(self) -> int:
        """The end of a text; -1 for a model that was trained on one endless text."""
        return EOS if self.card.preprocessing.get("eos", True) else -1

    def _prompt(self, text: str, new: int) -> Ids:
        return self._limited(self.encode(text), new)

    def _limited(self, ids: Ids, more: int) -> Ids:
        if len(ids) + more > self.max_len:
            wanted = f"{len(ids)} tokens and {more} more" if more else f"{len(ids)} tokens"
            raise ValueError(
                f"{wanted} are above this model's {self.limit}; give a shorter text"
                + (" or fewer max_new_tokens" if more else "")
            )
        return ids


@functools.partial(jax.jit, static_argnames=("module", "rows", "length"))
def _begin(module: nn.Module, variables: Any, *, rows: int, length: int) -> Sampled:
    return decoding.begin(module.apply(variables, rows, length, method="start"), rows, length)


@functools.partial(jax.jit, static_argnames=("module", "how", "eos_id"), donate_argnames="state")
def _advance(
    module: nn.Module,
    variables: Any,
    state: Sampled,
    prefix: Prefix | None,
    keys: jax.Array,
    until: jax.Array,
    *,
    how: Sampling,
    eos_id: int,
) -> Sampled:
    def step(tokens: jax.Array, cache: Any) -> Any:
        return module.apply(variables, tokens[..., None], cache, method="extend")

    return decoding.sample(step, state, keys, how, eos_id=eos_id, prefix=prefix, until=until)


@functools.partial(jax.jit, static_argnames="module")
def _scores(module: nn.Module, variables: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    logits = module.apply(variables, tokens, train=False)
    weights = (jnp.arange(tokens.shape[1])[None] < lengths[:, None]).astype(jnp.float32)
    return decoding.log_probabilities(jnp.asarray(logits), tokens, weights)
