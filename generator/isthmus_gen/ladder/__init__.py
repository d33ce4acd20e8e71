"""Rate ladders: quantisers chosen by what they cost and what they do to the network's answers."""

from __future__ import annotations

from isthmus_gen.ladder.budget import BudgetTable, budget_table
from isthmus_gen.ladder.candidates import Maker, Recipe, candidate_recipes
from isthmus_gen.ladder.design import choose_ladder
from isthmus_gen.ladder.divergence import Answers, Losses
from isthmus_gen.ladder.front import Point, bounded, isotonic, make_point, pareto, pick_rungs
from isthmus_gen.ladder.measure import Features, Meter
from isthmus_gen.ladder.search import Choice, search_ladder

__all__ = [
    "Answers",
    "BudgetTable",
    "Choice",
    "Features",
    "Losses",
    "Maker",
    "Meter",
    "Point",
    "Recipe",
    "bounded",
    "budget_table",
    "candidate_recipes",
    "choose_ladder",
    "isotonic",
    "make_point",
    "pareto",
    "pick_rungs",
    "search_ladder",
]
