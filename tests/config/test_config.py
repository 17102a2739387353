"""Values of configurations: override, round trip, difference, and every message."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from zoo.config import ConfigError, diff, flatten, from_dict, from_json, override, to_dict, to_json


@dataclass(frozen=True, kw_only=True)
class Adam:
    learning_rate: float = 1e-3
    freeze: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sgd:
    learning_rate: float = 0.1
    momentum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    steps: int = 10
    name: str = "x"
    mode: Literal["max", "min"] = "max"
    optimizer: Adam | Sgd = field(default_factory=Adam)
    shape: tuple[int, ...] | None = None
    fallback: Sgd | None = None
    shuffle: bool = True


def test_override_reaches_nested_fields_and_leaves_the_original_alone():
    plan = Plan()
    changed = override(
        plan, {"optimizer.learning_rate": 3e-3, "steps": 500, "shape": [28, 28], "mode": "min"}
    )
    assert changed == Plan(
        steps=500, mode="min", optimizer=Adam(learning_rate=3e-3), shape=(28, 28)
    )
    assert plan == Plan()


def test_override_takes_an_int_for_a_float_and_keeps_strings_strings():
    changed = override(Plan(), {"optimizer.learning_rate": 1, "name": "5", "fallback": Sgd()})
    assert type(changed.optimizer.learning_rate) is float
    assert changed.name == "5"
    assert changed.fallback == Sgd()


@dataclass(frozen=True, kw_only=True)
class Range:
    low: int = 0
    high: int = 1

    def __post_init__(self):
        if self.low >= self.high:
            raise ConfigError("low must be below high")


@dataclass(frozen=True, kw_only=True)
class Ranges:
    first: Range = field(default_factory=Range)


def test_fields_that_must_fit_each_other_are_overridden_in_any_order():
    for order in (("low", "high"), ("high", "low")):
        changes = {f"first.{name}": {"low": 5, "high": 9}[name] for name in order}
        assert override(Ranges(), changes) == Ranges(first=Range(low=5, high=9))
    inside_first = {"first.low": 2, "first": Range(low=3, high=4)}
    assert override(Ranges(), inside_first) == Ranges(first=Range(low=2, high=4))
    with pytest.raises(ConfigError, match="low must be below high"):
        override(Ranges(), {"first.low": 5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer.learnin_rate": 1.0},
            "Adam has no field 'learnin_rate'; did you mean 'learning_rate'? "
            "(fields: learning_rate, freeze)",
        ),
        ({"steps": 1.5}, "steps: 1.5 is not of type int"),
        ({"steps": True}, "steps: True is not of type int"),
        ({"steps": "500"}, "steps: '500' is not of type int"),
        (
            {"optimizer.learning_rate": "fast"},
            "optimizer.learning_rate: 'fast' is not of type float",
        ),
        ({"mode": "best"}, "mode: 'best' is not of type 'max' | 'min'"),
        ({"shape": (1, "a")}, "shape: (1, 'a') is not of type tuple[int, ...] | None"),
        (
            {"fallback.momentum": 0.9},
            "'fallback' is None and has no fields, so 'fallback.momentum' cannot be set; "
            "set 'fallback' as a whole",
        ),
    ],
)
def test_a_wrong_override_names_the_field_and_the_type(changes, message):
    with pytest.raises(ConfigError) as error:
        override(Plan(), changes)
    assert str(error.value) == message


def test_json_round_trip_gives_an_equal_hashable_config():
    plan = Plan(optimizer=Sgd(momentum=0.9), shape=(2, 3), fallback=Sgd())
    again = from_json(Plan, to_json(plan))
    assert again == plan
    assert hash(again) == hash(plan)
    assert to_dict(plan)["optimizer"] == {
        "type": "test_config:Sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
    }


def test_a_field_that_a_file_lacks_takes_its_default():
    assert from_dict(Plan, {"type": "test_config:Plan", "steps": 3}) == Plan(steps=3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"type": "test_config:Plan", "optimizer": {"type": "Adm"}},
            "Plan.optimizer: there is no configuration class 'Adm' (known: test_config:Adam, "
            "test_config:Sgd)",
        ),
        (
            {"type": "test_config:Plan", "step": 3},
            "Plan: Plan has no field 'step'; did you mean 'steps'? (fields: ",
        ),
        ({"type": "test_config:Plan", "steps": "many"}, "Plan.steps: 'many' is not of type int"),
    ],
)
def test_a_wrong_file_names_the_entry(data, message):
    with pytest.raises(ConfigError) as error:
        from_dict(Plan, data)
    assert str(error.value).startswith(message)


def test_a_file_that_is_not_json_is_refused():
    with pytest.raises(ConfigError, match="not a JSON configuration of Plan: Expecting"):
        from_json(Plan, "{")


def test_diff_lists_the_leaves_that_differ():
    new = Plan(steps=20, optimizer=Sgd())
    assert diff(Plan(), new) == {
        "steps": (10, 20),
        "optimizer.type": ("test_config:Adam", "test_config:Sgd"),
        "optimizer.learning_rate": (1e-3, 0.1),
        "optimizer.freeze": ([], None),
    }
    assert diff(new, new) == {}


def test_json_that_python_refuses_is_one_line():
    for text in ("[" * 100_000, "9" * 5000, "{"):
        with pytest.raises(ConfigError, match="not a JSON configuration of Plan"):
            from_json(Plan, text)


def test_flatten_joins_names_with_dots():
    assert flatten({"a": {"b": 1, "c": {}}, "d": 2}) == {"a.b": 1, "a.c": {}, "d": 2}
