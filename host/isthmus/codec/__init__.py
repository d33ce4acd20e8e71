"""The normative codec, in the order of docs/BITSTREAM.md: quantise, binarise, code, frame."""

from __future__ import annotations

from isthmus.codec.bound import neighbour_payload_max, payload_max
from isthmus.codec.frame import HEADER_BYTES, SLICED_HEADER_BYTES, SliceHeader
from isthmus.codec.quantise import float32_keys, levels_of
from isthmus.codec.reference import (
    DecodedFrame,
    decode_frame,
    encode_frame,
    encode_levels,
    ideal_bits,
)
from isthmus.codec.start import choose_start

__all__ = [
    "HEADER_BYTES",
    "SLICED_HEADER_BYTES",
    "DecodedFrame",
    "SliceHeader",
    "choose_start",
    "decode_frame",
    "encode_frame",
    "encode_levels",
    "float32_keys",
    "ideal_bits",
    "levels_of",
    "neighbour_payload_max",
    "payload_max",
]
