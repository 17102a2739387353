"""Patterns of parameters: regular expressions for a whole slash path, such as `head/.*`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from zoo.config import ConfigError
from zoo.models import stacks

MAX_LISTED, NEAREST = 12, 4
"""Most paths that an error message lists, and how many it lists where there are more."""


def check_patterns(field: str, patterns: Iterable[str]) -> None:
    """Checks that the patterns in a field of a config are regular expressions.

    Raises:
      ConfigError: one is not.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"{field} has {pattern!r}, which is not a regular expression ({error}); a pattern "
                "is one for a whole path, such as 'head/.*'"
            ) from error


def check_matches(field: str, patterns: Iterable[str], paths: Sequence[str]) -> None:
    """Checks that every pattern in a field of a config matches a parameter.

    Raises:
      ConfigError: one matches none; the message lists the parameters, or the nearest of many.
    """
    for pattern in patterns:
        if not any(matches((pattern,), path) for path in paths):
            near, which = list(paths), "the paths are"
            if len(paths) > MAX_LISTED:
                near = difflib.get_close_matches(pattern, paths, n=NEAREST, cutoff=0.0)
                which = f"the nearest of {len(paths)} paths are"
            raise ConfigError(
                f"{field} has {pattern!r}, which matches no parameter; a pattern is a regular "
                f"expression for a whole path, and {which} {', '.join(near)}"
            )


def matches(patterns: Iterable[str], path: str) -> bool:
    """Whether a pattern matches the path."""
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def map_paths(function: Callable[[str], Any], tree: Any, field: str) -> Any:
    """A tree in the shape of `tree` whose leaves are `function(slash path)`.

    Args:
      function: what the patterns say of a parameter.
      tree: the parameters.
      field: the field of a config that has the patterns.

    Raises:
      ConfigError: the function says different things of parameters that are stacked in one array.
    """

    def said(path: Any, _: Any) -> Any:
        first, *others = stacks.paths(_slashed(path))
        value = function(first)
        for other in others:
            if function(other) != value:
                raise ConfigError(
                    f"{field} has other values for {first} than for {other}, and scan_layers "
                    "stacks them; treat all layers of a stack alike, or leave scan_layers out"
                )
        return value

    return jax.tree_util.tree_map_with_path(said, tree)


def paths_of(tree: Any) -> list[str]:
    """The slash paths of the parameters in a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [name for path, _ in leaves for name in stacks.paths(_slashed(path))]


def _slashed(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
