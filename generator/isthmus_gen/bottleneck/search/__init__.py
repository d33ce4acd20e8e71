"""A search over cut, channels and stride under a device's budget.

result = search_bottlenecks(
    load_model("resnet8.keras"), ["activation_4"], load_data("train.npz"),
    SearchPlan(channels=(4, 8), strides=(2,), target="cortex-m4f"), Preprocessing(),
    work=Path("search.work"),
)
for point in result.front:
    print(point.candidate, point.bytes, point.loss)
"""

from __future__ import annotations

from isthmus_gen.bottleneck.search.candidates import (
    Candidate,
    SearchPlan,
    default_cuts,
    parse_numbers,
)
from isthmus_gen.bottleneck.search.cost import Cost
from isthmus_gen.bottleneck.search.front import Point
from isthmus_gen.bottleneck.search.run import SEARCH, Excluded, SearchResult, search_bottlenecks

__all__ = [
    "SEARCH",
    "Candidate",
    "Cost",
    "Excluded",
    "Point",
    "SearchPlan",
    "SearchResult",
    "default_cuts",
    "parse_numbers",
    "search_bottlenecks",
]
