"""Topics, the order of acknowledgements and waits: text and numbers, no broker."""

from __future__ import annotations

import itertools
import random

import pytest

from isthmus.errors import LinkError
from isthmus.server.delivery import AckOrder, Backoff
from isthmus.server.topics import Address, Topics

DEVICE = Address("digits", "board-7")


@pytest.mark.parametrize(
    ("root", "group", "subscription"),
    [
        ("isthmus", "", "isthmus/+/+/frames"),
        ("plant/2/cameras", "", "plant/2/cameras/+/+/frames"),
        ("isthmus", "decoders", "$share/decoders/isthmus/+/+/frames"),
    ],
)
def test_the_subscription(root: str, group: str, subscription: str) -> None:
    assert Topics(root, group).subscription == subscription


@pytest.mark.parametrize("root", ["isthmus", "plant/2"])
def test_addresses_there_and_back(root: str) -> None:
    topics = Topics(root, "g")
    assert topics.frames(DEVICE) == f"{root}/digits/board-7/frames"
    assert topics.results(DEVICE) == f"{root}/digits/board-7/results"
    assert topics.parse(f"{root}/digits/board-7/frames") == DEVICE
    assert topics.parse(f"{root}/r8/Gerät 1/frames") == Address("r8", "Gerät 1")


@pytest.mark.parametrize(
    "topic",
    [
        "", "isthmus", "isthmus/digits/d/results", "isthmus/digits/frames", "digits/d/frames",
        "isthmus/digits/d/frames/", "isthmus/digits/d/more/frames", "isthmus//d/frames",
        "isthmus/digits//frames", "isthmusx/digits/d/frames", "/isthmus/digits/d/frames",
        "isthmus/digits/d\x00/frames", "isthmus/digits/a\nb/frames", "isthmus/+/d/frames",
        "isthmus/digits/d\x9b/frames",
        "isthmus/digits/" + "d" * 129 + "/frames",
    ],
)  # fmt: skip
def test_other_topics_are_refused_with_what_is_allowed(topic: str) -> None:
    with pytest.raises(LinkError, match=r"allowed: isthmus/BUNDLE/DEVICE/frames"):
        Topics("isthmus").parse(topic)


@pytest.mark.parametrize("root", ["", "/", "a//b", "a/+", "a/#"])
def test_a_root_with_empty_levels_or_wildcards_is_refused(root: str) -> None:
    with pytest.raises(LinkError, match=r"^mqtt\.root: "):
        Topics(root)


@pytest.mark.parametrize(
    ("response", "used"),
    [
        (None, False),
        ("", False),
        ("clients/17/replies", True),
        ("isthmusx/digits/other/results", True),  # another root
        ("isthmus/digits/board-7/replies/1", True),
        ("isthmus/digits/board-7/frames", False),  # would come back as a frame
        ("isthmus/digits/board-8/results", False),  # somebody else's
        ("isthmus/digits/board-77/results", False),
        ("isthmus/r8/board-7/results", False),
        ("isthmus", False),
        ("a/+/b", False),
        ("a/#", False),
        ("$SYS/x", False),
        ("$share/g/x", False),
        ("x" * 2000, False),
        ("\ud800", False),
    ],
)
def test_where_an_answer_may_go(response: str | None, used: bool) -> None:
    expected = response if used else "isthmus/digits/board-7/results"
    assert Topics("isthmus").answer_to(DEVICE, response) == expected


def test_acknowledgements_keep_the_order_of_arrival() -> None:
    order = AckOrder()
    for number in (7, 3, 9, 1):
        order.arrived(number)
    assert order.done(3) == []
    assert order.done(9) == []
    assert order.done(7) == [7, 3, 9]
    assert len(order) == 1
    assert order.done(1) == [1]
    assert len(order) == 0


def test_every_order_of_answers_gives_the_same_acknowledgements() -> None:
    arrived = [4, 2, 8, 6, 1]
    for answers in itertools.permutations(arrived):
        order = AckOrder()
        for number in arrived:
            order.arrived(number)
        assert list(itertools.chain.from_iterable(map(order.done, answers))) == arrived


def test_numbers_are_used_again() -> None:
    order, chance = AckOrder(), random.Random(1)
    waiting: list[int] = []
    arrived: list[int] = []
    acknowledged: list[int] = []
    for step in range(3000):
        if len(waiting) < 16:
            number = 1 + step % 20
            if number not in waiting and number not in arrived[len(acknowledged) :]:
                order.arrived(number)
                waiting.append(number)
                arrived.append(number)
        if waiting and chance.random() < 0.7:
            acknowledged += order.done(waiting.pop(chance.randrange(len(waiting))))
    for number in waiting:
        acknowledged += order.done(number)
    assert acknowledged == arrived
    assert len(arrived) > 1000


def test_waits_double_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff(first=0.5, most=4.0, seed=3)
    spans = [0.5, 1.0, 2.0, 4.0, 4.0]
    waits = [backoff.wait() for _ in spans]
    assert all(0.25 * span <= wait <= span for wait, span in zip(waits, spans, strict=True))
    backoff.reset()
    assert backoff.wait() <= 0.5
    backoff.slow()
    assert 1.0 <= backoff.wait() <= 4.0
    assert [Backoff(seed=1).wait() for _ in range(2)] == [Backoff(seed=1).wait()] * 2
