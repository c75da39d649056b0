"""The parameters that a method lets its user set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prt_bench.errors import RequestError

__all__ = ["Setting", "checked_setting"]


@dataclass(frozen=True)
class Setting:
    """A number, word or flag that a method lets its user set (`--method eft:alpha=0.5`)."""

    default: float | int | str | bool
    low: float | None = None
    high: float | None = None
    help: str = ""


def checked_setting(method: str, name: str, setting: Setting, value: Any) -> float | int | str | bool:
    """The value of a parameter, as its default's type. Raises RequestError where it is of another kind or range."""
    kind = type(setting.default)
    if isinstance(value, str) and kind is not str:
        try:
            value = _BOOLEANS[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise RequestError(f"method {method}: {name}={value} is not a {_KINDS[kind]}") from None
    elif kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise RequestError(f"method {method}: {name}={value!r} is not a {_KINDS[kind]}")
    if isinstance(value, float) and not np.isfinite(value):
        raise RequestError(f"method {method}: {name}={value} is not a finite number")
    low = -np.inf if setting.low is None else setting.low
    high = np.inf if setting.high is None else setting.high
    if not isinstance(value, str) and not low <= value <= high:
        raise RequestError(f"method {method}: {name}={value} is outside its range {low:g} to {high:g}")
    checked: float | int | str | bool = value
    return checked


_BOOLEANS = {"true": True, "false": False}
_KINDS: dict[type, str] = {float: "number", int: "whole number", str: "word", bool: "flag (true or false)"}
