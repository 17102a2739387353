"""Text -> more text, and the probability of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack, overload

import numpy as np

from zoo.config import ValueMistake
from zoo.decoding import Bans, Choice, Controls, Counted, Sampling
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
    sources_of,
    until_end,
)
from zoo.predictors.windows import Windows, Writer
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
            see `decoding.Controls`. Of `suppress` a string is one token. They see the prompt and
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
        texts = [prompt] if isinstance(prompt, str) else self.several(prompt)
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
        several = [texts] if isinstance(texts, str) else self.several(texts)
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
        writer = self._writer
        begun = [writer.windows.last(ids) for ids in prompts]
        lengths = [len(ids) for ids in begun for _ in range(repeats)]
        few = FEW_ROWS if repeats == 1 else 1
        for batch in batches(lengths, self.window, begun=lengths, spread=new, few=few):
            items, rows = sources_of([index // repeats for index in batch.indices], batch.rows)
            starts = [begun[item] for item in items]
            number = batch.rows if rows is None else power_of_two(len(items))
            state = writer.begin(starts, number, rows, max(map(len, starts)) + new)
            until = batch.fill(np.array(lengths, np.int32)) + np.int32(new)
            own = batch.fill(keys)
            # A score is that of the tokens up to the string, so every token is looked at.
            piece = UNLIMITED if not stops else PIECE if counted == "nothing" else 1
            waiting = dict(enumerate(batch.indices))
            for written in writer.write(
                state, min(map(len, starts)), own, until, choice, counted, bans=bans, piece=piece
            ):
                totals = self.checked(written.scores)
                for row, index in list(waiting.items()):
                    first = lengths[index]
                    ids = self._cut(written.tokens[row, first : first + new])
                    answers[index] = ids, float(totals[row])
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
        writer, shown = self._writer, ""
        begun = writer.windows.last(prompt)
        first, until = len(begun), np.array([len(begun) + new], np.int32)
        state, keys = writer.begin([begun], 1, None, first + new), draw_keys(seed, [prompt], 1)
        for written in writer.write(state, first, keys, until, choice, bans=bans, piece=PIECE):
            self.checked(written.scores)
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

    def _score(self, texts: list[Ids]) -> list[float]:
        scores = [0.0] * len(texts)
        exact = self.card.config.exact_lengths
        owners, pieces, firsts = Windows(self.window).of(texts)
        for batch in batches([len(ids) for ids in pieces], self.window, exact=exact):
            arguments = (batch.pad(pieces, self.card.config.padding),)
            sizes, first = batch.lengths(pieces), batch.fill(np.array(firsts, np.int32))
            values = generation.scores(self.module, self.variables, arguments, sizes, first)
            for index, value in zip(batch.indices, self.checked(values), strict=False):
                scores[owners[index]] += float(value)
        return scores

    @property
    def _writer(self) -> Writer:
        return Writer(self.module, self.variables, Windows(self.window), self._eos)

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
