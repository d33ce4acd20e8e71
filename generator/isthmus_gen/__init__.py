"""The offline half of Isthmus: calibration, generation, verification and evaluation."""

from __future__ import annotations
