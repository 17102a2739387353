"""Text -> more text, and the probability of a text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.config import ValueMistake
from zoo.controls import Bans, Controls
from zoo.decoding import Choice, Counted, Prefix, Sampled, Sampling
from zoo.predictors import generation, samples
from zoo.predictors.base import UNLIMITED, Predictor
from zoo.predictors.batching import FEW_ROWS, Array, batches, power_of_two
from zoo.predictors.generation import (
    EOS,
    NO_STOPS,
    Ids,
    Scored,
    Stops,
    draw_keys,
    following_keys,
    jax_keys,
    prefixes,
    sources_of,
    until_end,
)
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
    suppress: Sequence[int | str]
    repetition_penalty: float
    no_repeat_ngram: int | None
    min_new_tokens: int
    stop: Sequence[str]


class Written(NamedTuple):
    """What several rows have so far."""

    tokens: Array
    """int32 [rows, T]: those of the prompt, of its last window, and the new ones."""
    scores: Array
    """float32 [rows]."""
    last: bool
    """Whether nothing will follow."""


class LanguageModel(Predictor):
    """Continues texts, and scores them."""

    task: ClassVar[str] = "language_modeling"
    command: ClassVar[str] = "generate"

    @property
    def window(self) -> int:
        """The most tokens that are read at once.

        It is the length of the windows that the model was trained on (`card.preprocessing`:
        `window`), `max_len` if the card does not say. A recurrent model has no limit.
        """
        if self.card.config.max_positions is None:
            return UNLIMITED
        return min(int(self.card.preprocessing.get("window", UNLIMITED)), self.max_len)

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
        suppress: Sequence[int | str] = (),
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int | None = None,
        min_new_tokens: int = 0,
        stop: Sequence[str] = (),
        scores: bool = False,
        stream: bool = False,
    ) -> Any:
        """The text that follows a prompt, or each prompt of a list, without the prompt.

        Prompt and continuation may have any length. When they fill the model's `window`, its second
        half becomes the first half of a new one, and what came before is forgotten.

        Args:
          prompt: what comes before; it may be empty.
          max_new_tokens: length limit of the continuation, in tokens. It is shorter if the model
            ends the text.
          temperature, top_k, top_p: how tokens are drawn, see `decoding.Sampling`. Temperature 0
            takes the most probable token each time.
          num_return: the number of continuations of each prompt, which come as a list of `Scored`.
          seed: of the draw. Equal seeds give a prompt equal continuations, in any batch; equal
            prompts of one call get continuations of their own, of which the first is the one that
            the prompt gets by itself.
          suppress, repetition_penalty, no_repeat_ngram, min_new_tokens: what may not be written,
            see `controls.Controls`. Of `suppress` a string is one token. They see the prompt and
            the continuation as far as the window goes.
          stop: strings; the continuation ends before the first of them that it has. A score counts
            the tokens up to the one that completes the string.
          scores: give `Scored` instead of strings. The score is that of the continuation after the
            prompt, and of the end if the model ended the text. It is what the model gave the tokens
            when it wrote them, before temperature, top_k and top_p.
          stream: give an iterator of pieces that join to the continuation; for one prompt.

        Raises:
          ValueError: an option is invalid.
          NoAnswerError: the model's numbers are NaN or infinite.
        """
        controls = Controls(
            suppress=self.token_ids(suppress),
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            min_new_tokens=min_new_tokens,
        )
        bans = controls.bans(self.card.config.size_of("vocab_size")) if controls else None
        stops = Stops.of(stop)
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
            return self._stream(
                self.encode(prompt), sampling.choice(), max_new_tokens, seed, bans, stops
            )
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        prompts = [self.encode(text) for text in texts]
        counted: Counted = "new" if scores or num_return is not None else "nothing"
        keys = draw_keys(seed, prompts, repeats)
        answers = self._generate(
            prompts, sampling.choice(), max_new_tokens, repeats, keys, counted, bans, stops
        )
        results: list[Any] = []
        for start, continuations in zip(prompts, answers, strict=True):
            scored = [
                Scored(stops.cut(self._continuation(start, ids)), score)
                for ids, score in continuations
            ]
            one = scored[0] if scores else scored[0].text
            results.append(one if num_return is None else scored)
        return results[0] if isinstance(prompt, str) else results

    @overload
    def score(self, texts: str) -> float: ...
    @overload
    def score(self, texts: Texts) -> list[float]: ...
    def score(self, texts: str | Texts) -> float | list[float]:
        """The sum of the log-probabilities (in nats) of a text's tokens, or of each text's.

        The end of the text counts if the model knows one (`card.preprocessing`: `eos`). A text that
        is longer than the model's `window` is read in windows, as `generate` writes it.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        scores = self._score([self._ended(self.encode(text)) for text in several])
        return scores[0] if isinstance(texts, str) else scores

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        for item in items:
            yield item + self.generate(item, max_new_tokens=PRINTED, temperature=0.8)

    def sample_inputs(self) -> dict[str, Any]:
        own, texts = self._own_prompt(), samples.texts(self._text_tokenizer, self.window)
        return {own: own} | texts

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        new = min(CHECKED, self.window - self.window // 2)
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
            return next(iter(samples.texts(tokenizer, self.window)))
        middle = self.module.config.vocab_size // 2
        return tokenizer.decode([middle, middle + 1, middle + 2])

    def _generate(
        self,
        prompts: list[Ids],
        choice: Choice,
        new: int,
        repeats: int,
        keys: Array,
        counted: Counted,
        bans: Bans | None = None,
        stops: Stops = NO_STOPS,
    ) -> list[list[tuple[Ids, float]]]:
        """`repeats` continuations of each prompt, of at most `new` tokens, and their scores.

        Args:
          prompts: the prompts.
          choice: how tokens are drawn.
          new: the most new tokens.
          repeats: continuations of each prompt.
          keys: one for each continuation, see `draw_keys`.
          counted: which tokens count in the scores.
          bans: what may not be chosen.
          stops: strings at which a continuation ends; it may be longer than that.
        """
        answers: list[tuple[Ids, float]] = [([], 0.0)] * (len(prompts) * repeats)
        begun = [self._last_window(ids) for ids in prompts]
        lengths = [len(ids) for ids in begun for _ in range(repeats)]
        few = FEW_ROWS if repeats == 1 else 1
        for batch in batches(lengths, self.window, begun=lengths, spread=new, few=few):
            items, rows = sources_of([index // repeats for index in batch.indices], batch.rows)
            starts = [begun[item] for item in items]
            number = batch.rows if rows is None else power_of_two(len(items))
            state = self._begin(starts, number, rows, max(map(len, starts)) + new)
            until = batch.fill(np.array(lengths, np.int32)) + np.int32(new)
            own = batch.fill(keys)
            # A score is that of the tokens up to the string, so every token is looked at.
            piece = UNLIMITED if not stops else PIECE if counted == "nothing" else 1
            waiting = dict(enumerate(batch.indices))
            for written in self._write(
                state, min(map(len, starts)), own, until, choice, counted, bans=bans, piece=piece
            ):
                for row, index in list(waiting.items()):
                    first = lengths[index]
                    ids = self._cut(written.tokens[row, first : first + new])
                    answers[index] = ids, float(written.scores[row])
                    text = self._continuation(prompts[index // repeats], ids) if stops else ""
                    if stops.found(text):
                        del waiting[row]
                if not waiting:
                    break
        return [answers[first : first + repeats] for first in range(0, len(answers), repeats)]

    def _stream(
        self,
        prompt: Ids,
        choice: Choice,
        new: int,
        seed: int,
        bans: Bans | None,
        stops: Stops,
    ) -> Iterator[str]:
        begun, shown = self._last_window(prompt), ""
        first, until = len(begun), np.array([len(begun) + new], np.int32)
        state, keys = self._begin([begun], 1, None, first + new), draw_keys(seed, [prompt], 1)
        for written in self._write(state, first, keys, until, choice, bans=bans, piece=PIECE):
            # After the end of the sequence there are zeros; `_cut` ends before it.
            whole = self._continuation(prompt, self._cut(written.tokens[0, first:]))
            ended = written.last or stops.found(whole)
            whole = stops.cut(whole)
            if not ended:
                # A character of several tokens, or the number that encodes one, may be incomplete.
                whole = re.sub(r"(\N{REPLACEMENT CHARACTER}+|\\\d*)\Z", "", stops.sure(whole))
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole
            if ended:
                return

    def _write(
        self,
        state: Sampled,
        position: int,
        keys: Array,
        until: Array,
        choice: Choice,
        counted: Counted = "nothing",
        *,
        bans: Bans | None = None,
        piece: int = UNLIMITED,
    ) -> Iterator[Written]:
        """Goes on until each row has ended or has `until` tokens. A full window slides on.

        Args:
          state: of `_begin`.
          position: the number of tokens that it has read or chosen.
          keys: of the rows.
          until: int32 [rows], prompts included.
          choice: how tokens are drawn.
          counted: which tokens count in the scores.
          bans: what may not be chosen.
          piece: yield after this many tokens.
        """
        window, keep = self.window, self.window // 2
        gone = np.zeros((len(until), 0), np.int32)
        while True:
            goal = min(position + piece, int(until.max()), window)
            state = self._advance(state, keys, np.minimum(until, goal), choice, counted, bans)
            position, scores = goal, self.checked(state.scores)
            tokens = np.asarray(state.tokens)[:, :position]
            last = position == until.max() or bool(np.all(state.done))
            yield Written(np.concatenate([gone, tokens], axis=1), scores, last)
            if last:
                return
            if position == window:
                gone = np.concatenate([gone, tokens[:, : window - keep]], axis=1)
                kept = tokens[:, window - keep :]
                given = state.given - np.int32(window - keep)
                state = _slide(
                    self.module, self.variables, kept, given, state.done, state.scores, room=window
                )
                until, position = until - np.int32(window - keep), keep
                keys = following_keys(keys)  # the places of the new window have been drawn for

    def _score(self, texts: list[Ids]) -> list[float]:
        scores = [0.0] * len(texts)
        exact = self.card.config.exact_lengths
        owners, pieces, firsts = self._windows(texts)
        for batch in batches([len(ids) for ids in pieces], self.window, exact=exact):
            arguments = (batch.pad(pieces, self.card.config.padding),)
            sizes, first = batch.lengths(pieces), batch.fill(np.array(firsts, np.int32))
            values = generation.scores(self.module, self.variables, arguments, sizes, first)
            for index, value in zip(batch.indices, self.checked(values), strict=False):
                scores[owners[index]] += float(value)
        return scores

    def _windows(self, texts: list[Ids]) -> tuple[list[int], list[Ids], list[int]]:
        """The texts in windows, as `_write` slides them.

        Returns:
          For each window: the number of its text, its tokens, and how many of them are context.
        """
        owners, pieces, firsts = [], [], []
        window, stride = self.window, self.window - self.window // 2
        for owner, ids in enumerate(texts):
            for start in range(0, max(len(ids) - window, 0) + stride, stride):
                owners.append(owner)
                pieces.append(ids[start : start + window])
                firsts.append(window - stride if start else 0)
        return owners, pieces, firsts

    def _last_window(self, prompt: Ids) -> Ids:
        """The part of a prompt that is read: where `_write` would have slid the window to."""
        stride = self.window - self.window // 2
        beyond = len(prompt) - self.window
        return prompt if beyond < 0 else prompt[(beyond // stride + 1) * stride :]

    def _begin(
        self,
        starts: list[Ids],
        number: int,
        rows: Array | None,
        until: int,
    ) -> Sampled:
        """The state after the prompts, see `decoding.begin`.

        Args:
          starts: the prompts.
          number: of rows that read them.
          rows: which of these rows each row of the state continues; None: the state has the same.
          until: the most tokens, prompts included.
        """
        # Room in a few sizes only, so that few programs are compiled.
        room = min(max(power_of_two(until), 64), self.window)
        prefix = prefixes(starts, number, room)
        state: Sampled = _begin(self.module, self.variables, prefix, rows, number=number, room=room)
        return state

    def _advance(
        self,
        state: Sampled,
        keys: Array,
        until: Array,
        choice: Choice,
        counted: Counted = "nothing",
        bans: Bans | None = None,
    ) -> Sampled:
        """Goes on until each row has `until` tokens, int32 [rows]; `state` is donated."""
        following: Sampled = _advance(
            self.module,
            self.variables,
            state,
            keys,
            until,
            choice,
            bans,
            eos_id=self._eos,
            counted=counted,
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


@functools.partial(jax.jit, static_argnames=("module", "number", "room"))
def _begin(
    module: nn.Module,
    variables: Any,
    prefix: Prefix | None,
    rows: jax.Array | None,
    *,
    number: int,
    room: int,
) -> Sampled:
    cache = module.apply(variables, number, room, method="start")
    step = generation.step(module, variables)
    state = decoding.begin(step, cache, number, room, prefix=prefix)
    return state if rows is None else state.rows(rows)


@functools.partial(jax.jit, static_argnames=("module", "room"))
def _slide(
    module: nn.Module,
    variables: Any,
    kept: jax.Array,
    given: jax.Array,
    done: jax.Array,
    scores: jax.Array,
    *,
    room: int,
) -> Sampled:
    """The state of a new window, which begins with the tokens `kept`, int32 [rows, K]."""
    rows, count = kept.shape
    cache = module.apply(variables, rows, room, method="start")
    prefix = Prefix(kept, jnp.full((rows,), count, jnp.int32)) if count else None
    step = generation.step(module, variables)
    state = decoding.begin(step, cache, rows, room, prefix=prefix)
    return state._replace(given=given, done=done, scores=scores)


@functools.partial(
    jax.jit, static_argnames=("module", "eos_id", "counted"), donate_argnames="state"
)
def _advance(
    module: nn.Module,
    variables: Any,
    state: Sampled,
    keys: jax.Array,
    until: jax.Array,
    choice: Choice,
    bans: Bans | None,
    *,
    eos_id: int,
    counted: Counted,
) -> Sampled:
    step = generation.step(module, variables)
    keys = jax_keys(keys)
    return decoding.sample(
        step, state, keys, choice, eos_id=eos_id, until=until, counted=counted, bans=bans
    )
