"""The int8 front half: ``.tflite`` to layer list, memory plan and C99."""

from __future__ import annotations

from isthmus_gen.front.build import ROUNDINGS, FrontPlan, plan_front, unsupported_operators
from isthmus_gen.front.render import front_environment, render_front

__all__ = [
    "ROUNDINGS",
    "FrontPlan",
    "front_environment",
    "plan_front",
    "render_front",
    "unsupported_operators",
]
