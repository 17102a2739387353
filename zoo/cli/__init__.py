"""The command `zoo`: the functions of the library, a file for each group of commands."""

from zoo.cli.main import main

__all__ = ["main"]
