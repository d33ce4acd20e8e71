"""A fleet of simulated boards: the emitted C on real inputs, over the server's links."""

from __future__ import annotations
