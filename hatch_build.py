"""Put the files that are no Python into the wheel.

A checkout reads them where they are (an editable install must not carry a copy that goes stale);
a wheel carries them under ``_data``. The host's own copy of the C runtime is what it compiles its
native codec from; it does not need the generator for that.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DATA = {
    "templates/runtime": "isthmus/_data/runtime",
    "templates": "isthmus_gen/_data/templates",
    "targets": "isthmus_gen/_data/targets",
    "examples/digits/digits.keras": "isthmus_gen/_data/digits/digits.keras",
}


class DataFiles(BuildHookInterface[Any]):
    """Build hook of the wheel (named in pyproject.toml)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update(DATA)
