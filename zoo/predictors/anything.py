"""The static type of what `zoo.load` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.predictors.base import Predictor

if TYPE_CHECKING:
    from zoo.predictors.agent import Returns

    class AnyPredictor(Predictor):
        """A predictor of any task: the methods and options of all of them.

        Only the card says of which task a model is, so a type checker lets all these methods pass.
        `isinstance(model, Translator)` narrows the type to the one class.
        """

        def __call__(
            self,
            *inputs: Any,
            top_k: int | None = None,
            beam_size: int | None = None,
            length_penalty: float = 0.6,
            num_return: int | None = None,
            temperature: float = 0.0,
            top_p: float | None = None,
            seed: int = 0,
            max_new_tokens: int | None = None,
            prefix: str | list[str] | None = None,
            scores: bool = False,
            **options: Any,
        ) -> Any:
            """The answer to one item, or to each item of a list.

            Args:
              inputs: texts, images or arrays; a model of the user's own may take several.
              top_k: of a classifier, the number of classes to show; of a translator, see
                `temperature`.
              beam_size, length_penalty, num_return, temperature, top_p, seed, max_new_tokens,
                prefix, scores: see `Translator`.
            """

        def generate(
            self,
            prompt: Any = "",
            *,
            max_new_tokens: int = 100,
            temperature: float = 1.0,
            top_k: int | None = None,
            top_p: float | None = None,
            num_return: int | None = None,
            seed: int = 0,
            scores: bool = False,
            stream: bool = False,
            **options: Any,
        ) -> Any:
            """The text that follows a prompt; see `LanguageModel.generate`."""

        def score(self, *texts: Any, **named: Any) -> Any:
            """The log-probability of a text, or of a translation of a source."""

        def act(self, observation: Any, *, temperature: float = 0.0, seed: int = 0) -> Any:
            """The action for an observation; see `Agent.act`."""

        def value(self, observation: Any) -> Any:
            """The return that an agent expects; see `Agent.value`."""

        def play(self, episodes: int = 100, *, seed: int = 0, **options: Any) -> Returns:
            """Episodes that an agent plays; see `Agent.play`."""

else:
    AnyPredictor = Predictor
