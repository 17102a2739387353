"""The command that lets an agent play."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli.parsing import AsksModel
from zoo.config import ValueMistake

if TYPE_CHECKING:
    from zoo.envs import Environment
    from zoo.predictors import Agent


@dataclass(frozen=True, kw_only=True)
class Play(AsksModel):
    """Lets an agent play, and prints its mean return.

    The line has the mean and the standard deviation of the undiscounted returns.
    """

    episodes: int = 100
    """Number of episodes."""
    seed: int = 0
    """Of the environments, and of draws."""
    temperature: float = 0.0
    """0 takes the likeliest action; 1 draws from the policy's distribution."""
    environment: str | None = None
    """Another environment than that of the training; an id of gymnasium too."""
    each: bool = False
    """Print the return of each episode too, a line each, before the mean."""
    render: Path | None = None
    """A GIF to write: one more episode, drawn."""

    def run(self) -> None:
        from zoo import envs

        agent = self._agent()
        environment = agent.environment(self.environment)
        if self.render is not None:
            _check_drawing(environment, self.render)
        played = agent.play(
            self.episodes, seed=self.seed, temperature=self.temperature, environment=environment
        )
        if self.each:
            print(*(f"{value:.6g}" for value in played.each), sep="\n")
        number = "an episode" if self.episodes == 1 else f"{self.episodes:,} episodes"
        print(f"{played}  ({number} of {self.environment or agent.environment_name})", flush=True)
        if self.render is None:
            return
        episode = agent.record(
            seed=self.seed, temperature=self.temperature, environment=environment
        )
        self.render.parent.mkdir(parents=True, exist_ok=True)
        envs.save_gif(episode.frames(environment), self.render)
        steps, total = len(episode.rewards), sum(episode.rewards)
        print(f"{self.render}: an episode of {steps} steps, return {total:.1f}")

    def _agent(self) -> Agent:
        """The model, if it is an agent.

        Raises:
          ValueError: it is not.
        """
        from zoo import hub, predictors

        checkpoint = self.checkpoint
        task = hub.card(self.name, code=self.code).task
        if task != predictors.Agent.task:
            known = predictors.PREDICTORS.get(task)
            asked = f"; ask it with `zoo {known.command}`" if known else ""
            raise ValueMistake(
                f"{self.name} is a model of {task}, which plays in no environment{asked}"
            )
        agent = hub.load(self.name, dtype=self.dtype, step=checkpoint)
        assert isinstance(agent, predictors.Agent)
        return agent


def _check_drawing(environment: Environment, path: Path) -> None:
    """Refuses what cannot be drawn, or written, before the work.

    Raises:
      ValueError: the environment has no drawing, or the file's name is not that of a GIF.
      OSError: the file cannot be written.
    """
    from zoo.storage.files import output_file

    if path.suffix.lower() != ".gif":
        raise ValueMistake(f"--render is {path}; it writes a GIF: give a name that ends in .gif")
    output_file(path)
    if not environment.has_drawing:
        environment.frame(None)  # raises
