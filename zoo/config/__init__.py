"""Configurations: frozen dataclasses as values, on disk, and the user's code that they name."""

from zoo.config.code import file_of, is_own, load_file, reference, resolve, running, source_of
from zoo.config.stored import (
    TYPE_KEY,
    diff,
    flatten,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from zoo.config.values import (
    ConfigError,
    check,
    check_fields,
    check_not_negative,
    check_share,
    check_size,
    did_you_mean,
    field_types,
    override,
    type_name,
    unknown_field,
)

__all__ = [
    "TYPE_KEY",
    "ConfigError",
    "check",
    "check_fields",
    "check_not_negative",
    "check_share",
    "check_size",
    "did_you_mean",
    "diff",
    "field_types",
    "file_of",
    "flatten",
    "from_dict",
    "from_json",
    "is_own",
    "load_file",
    "override",
    "reference",
    "resolve",
    "running",
    "source_of",
    "to_dict",
    "to_json",
    "type_name",
    "unknown_field",
]
