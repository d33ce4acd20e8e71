"""Typed access to the fields of a JSON object; every error names the field that is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from isthmus.errors import BundleFormatError

__all__ = ["FieldReader"]


class FieldReader:
    """Typed access to one JSON object; every error carries the path of the field."""

    def __init__(self, data: Any, path: str) -> None:
        if not isinstance(data, Mapping):
            raise BundleFormatError(path, f"is a {type(data).__name__}", allowed="an object")
        self.data = data
        self.path = path

    def only(self, *keys: str) -> None:
        """Refuses unknown keys: they would be left out of the digest without a word."""
        for key in self.data:
            if key not in keys:
                raise BundleFormatError(
                    f"{self.path}.{key}", "is not a field", allowed=", ".join(keys)
                )

    def get(self, key: str) -> Any:
        if key not in self.data:
            raise BundleFormatError(f"{self.path}.{key}", "is missing")
        return self.data[key]

    def fail(self, key: str, value: Any, allowed: str) -> BundleFormatError:
        return BundleFormatError(f"{self.path}.{key}", f"is {value!r:.60}", allowed=allowed)

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise self.fail(key, value, "a string")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self.fail(key, value, " or ".join(allowed))
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, value, f"an integer in {low}..{high}")
        return value

    def real(self, key: str) -> float:
        value = self.get(key)
        if not is_real(value):
            raise self.fail(key, value, "a finite number")
        return float(value)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.get(key)
        if not isinstance(value, Mapping):
            raise self.fail(key, value, "an object")
        return dict(value)

    def sequence(self, key: str, low: int, high: int) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise self.fail(key, value, f"a list of {low}..{high} entries")
        return value

    def integers(self, key: str, count: int, low: int, high: int) -> tuple[int, ...]:
        values = self.sequence(key, count, count)
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self.fail(f"{key}[{index}]", value, f"an integer in {low}..{high}")
        return tuple(values)

    def reals(self, key: str, count: int, limit: float = math.inf) -> tuple[float, ...]:
        values = self.sequence(key, count, count)
        for index, value in enumerate(values):
            if not is_real(value):
                raise self.fail(f"{key}[{index}]", value, "a finite number")
            if abs(value) > limit:
                raise self.fail(f"{key}[{index}]", value, f"a number in -{limit:g}..{limit:g}")
        return tuple(float(value) for value in values)

    def child(self, key: str) -> FieldReader:
        return FieldReader(self.get(key), f"{self.path}.{key}")


def is_real(value: Any) -> bool:
    """Whether a JSON value is a number that a double holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every double
        return False
