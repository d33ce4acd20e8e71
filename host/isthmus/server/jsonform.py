"""Answers and refusals as JSON, the same on HTTP and MQTT. No sockets, no clock.

Numbers are written so that they read back exactly; a value that is no finite number is null, since
JSON has no other word for it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from isthmus.codec.frame import Octets
from isthmus.errors import IsthmusError
from isthmus.server.types import Answer

__all__ = ["answer_json", "dump", "peek_sequence", "refusal_json"]

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)


def dump(value: Any) -> bytes:
    """``value`` as compact ASCII JSON; NaN and infinities as null."""
    try:
        return _ENCODER.encode(value).encode("ascii")
    except ValueError:
        return _ENCODER.encode(_finite(value)).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def answer_json(answer: Answer) -> bytes:
    """The answer to one frame: ``outputs`` nested as the back half's shapes, times in ms.

    By orjson, which takes a tenth of json's time for it and reads numpy's arrays: values are
    written in the fewest digits that read back as the same float32.
    """
    times = answer.timings
    return orjson.dumps(
        {
            "model": answer.model,
            "version": answer.version,
            "device": answer.device,
            "sequence": answer.sequence,
            "rung": answer.rung,
            "outputs": answer.outputs,
            "top": [
                {"index": top.index, "value": top.value, "label": top.label} for top in answer.top
            ],
            "bits_per_element": answer.bits_per_element,
            "concealed": answer.concealed,
            "slices_lost": answer.slices_lost,
            "timings_ms": {
                "queue": _milliseconds(times.queue),
                "decode": _milliseconds(times.decode),
                "compute": _milliseconds(times.compute),
                "total": _milliseconds(times.total),
            },
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _milliseconds(seconds: float) -> float:
    """To whole microseconds: what follows is noise, and long to write."""
    return round(seconds * 1e6) / 1000.0


def refusal_json(error: IsthmusError, sequence: int | None = None) -> bytes:
    """Why a frame got no answer; ``sequence`` where the frame could be read that far."""
    return dump({"error": error.as_dict(), "sequence": sequence})


_ENVELOPE = 0x18
_ENVELOPE_BYTES = 12
_HEADER_BYTES = 8


def peek_sequence(unit: Octets) -> int | None:
    """The sequence number that a unit's header holds, sealed or not; None where there is none.

    For refusals: nothing is checked, so it is what the sender said and no more.
    """
    at = _ENVELOPE_BYTES if len(unit) and unit[0] == _ENVELOPE else 0
    if len(unit) < at + _HEADER_BYTES or unit[at] >> 4 != 1 or unit[at] & 8:
        return None
    at += 3 if unit[at] & 2 else 6
    return unit[at] | unit[at + 1] << 8
