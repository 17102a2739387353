"""trax's `MLP(out_activation=True)`."""

from __future__ import annotations

from dataclasses import dataclass

from flax import linen as nn
from jaxtyping import Array, Float

from zoo.models.base import TraxQuirks
from zoo.models.layers import ACTIVATIONS
from zoo.models.mlp import MLP, MLPConfig


@dataclass(frozen=True, kw_only=True)
class MLPQuirks(TraxQuirks):
    """For the weights of trax's `MLP`."""

    activate_output: bool = False
    """Apply the activation to the last layer too."""

    def build(self, config: MLPConfig) -> nn.Module:
        return ActivatedMLP(config) if self.activate_output else MLP(config)


class ActivatedMLP(MLP):
    """An `MLP` whose last layer is activated like the hidden ones."""

    @nn.nowrap
    def output(self, logits: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        """See `MLP`."""
        return ACTIVATIONS[self.config.activation](logits)
