"""Frames cut into packets, in plain Python (BITSTREAM.md, 3.2); normative."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import binarisation
from isthmus.codec.bound import element_bits_q16, flat_unit_shifts, payload_max
from isthmus.codec.coding import open_walk, open_writer, put_levels
from isthmus.codec.frame import HEADER_BYTES, SliceHeader
from isthmus.codec.near_bound import element_bits, flat_bits
from isthmus.codec.walk import CHECK_ELEMENTS, SLACK_BYTES, element_cost
from isthmus.errors import BundleFormatError
from isthmus.profile import MAX_PACKET_UNITS, Packets, Profile, Rung

__all__ = [
    "check_packets",
    "encode_packets",
    "packet_need",
    "packet_slack",
    "packets_decodable",
    "packets_max",
    "smallest_packet",
]


def packet_slack(packets: Packets) -> int:
    """The slack of a packet's walk, bytes."""
    return min(SLACK_BYTES, packets.bytes // 8) or SLACK_BYTES


def smallest_packet(levels: int, rate: int, unit: int) -> int:
    """Bytes a packet must be allowed so that one unit of ``unit`` elements always fits, flat."""
    return HEADER_BYTES + flat_unit_shifts(levels, rate, unit) + 1


def packet_need(rung: Rung, unit: int) -> int:
    """:func:`smallest_packet` of ``rung``, whatever its codec."""
    if rung.trained is not None:
        return HEADER_BYTES + flat_bits(rung.trained.level_bits, unit) // 8 + 1
    return smallest_packet(rung.levels, rung.rate, unit)


def packets_decodable(profile: Profile, packets: Packets, rung: Rung) -> int:
    """Bytes that no frame of this rung exceeds, however it is divided into packets.

    A decoder takes any division, so up to a packet for each unit.
    """
    unit = HEADER_BYTES + math.ceil(packets.unit * _dearest_bits(rung) / 8) + 5
    return profile.tensor.elements // packets.unit * min(packets.bytes, unit)


def _dearest_bits(rung: Rung) -> float:
    """Bits that no element of the rung exceeds: a bin costs at most twelve and a little."""
    if rung.trained is not None:
        return element_bits(rung.trained.level_bits)
    form = binarisation(rung.levels)
    return (form.classes - 1 + form.suffix_bits) * 12.01


def check_packets(profile: Profile, path: str = "profile") -> None:
    """BundleFormatError where a unit of some data would not fit a packet."""
    if profile.packets is None:
        return
    unit = profile.packets.unit
    need = max(packet_need(rung, unit) for rung in profile.rungs)
    if profile.packets.bytes < need:
        raise BundleFormatError(
            f"{path}.packets.bytes", f"is {profile.packets.bytes}", allowed=f">= {need}",
            remedy="a unit of the tensor must fit a packet: larger packets or smaller units",
        )  # fmt: skip


def packets_max(profile: Profile, packets: Packets, rung: Rung) -> int:
    """Bytes that no frame of this rung exceeds that :func:`encode_packets` makes.

    A packet is closed by a unit that does not fit. Until a walk turns flat its bytes are at most
    its slack and ``even`` bits an element; the elements after the last look, as many as lie
    between two looks, cost at most what one may; what is flat is bounded by ``flat``. What a packet
    surely holds follows. In scheme "paper" all of it is bounded like what is flat.
    """
    units = profile.tensor.elements // packets.unit
    if rung.trained is not None:
        channels = rung.trained.channels
        flat = -(-flat_bits(rung.trained.level_bits, packets.unit) // 8)
        even = (rung.trained.level_bits << 16) + 2
    else:
        channels = 0 if rung.contexts is None else len(rung.contexts.clusters)
        flat = payload_max(rung.levels, rung.rate, packets.unit)
        form = binarisation(rung.levels)
        even = max(element_cost(form) << 11, element_bits_q16(rung.levels, rung.rate))
    room = packets.bytes - HEADER_BYTES - 6 - flat
    if channels:
        unlooked = min(channels, CHECK_ELEMENTS)
        room -= packet_slack(packets) + math.ceil(unlooked * _dearest_bits(rung) / 8)
    surely = (room << 19) // (even * packets.unit)
    surely = max(1, min(surely, MAX_PACKET_UNITS))
    return min(-(-units // surely) * packets.bytes, packets_decodable(profile, packets, rung))


def encode_packets(
    profile: Profile, packets: Packets, rung: int, sequence: int, levels: npt.NDArray[np.uint8]
) -> bytes:
    """The frame of flat ``levels``: packets end to end, each with as many units as fit."""
    chosen = profile.rungs[rung]
    units = levels.reshape(-1, packets.unit)
    out = []
    at = 0
    while at < len(units):
        for flat in (False, True):
            walk = open_walk(
                chosen,
                profile.tensor.row_elements,
                start=at * packets.unit,
                slack=packet_slack(packets),
                flat=flat,
            )
            writer = open_writer(walk, chosen)
            kept = writer
            count = 0
            for unit in units[at : at + MAX_PACKET_UNITS]:
                put_levels(walk, writer, unit)
                if HEADER_BYTES + writer.shifts + 1 > packets.bytes and not (flat and count == 0):
                    break
                count += 1
                kept = writer.copy()
            if count:
                break
        payload = kept.finish()
        header = SliceHeader(
            version=1,
            sliced=False,
            rung=rung,
            payload_bytes=len(payload),
            digest_prefix=b"",
            sequence=sequence & 0xFFFF,
            checksum=0,
            slice=0,
            slices=1,
            packet=True,
            flat=flat,
            first_unit=at,
            units=count,
        )
        out.append(header.write(profile.digest, payload))
        at += count
    return b"".join(out)
