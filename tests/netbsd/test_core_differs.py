"""The guard and the core, asked the same by chance: same answers, same errno, same mirror.

By Hypothesis, which finds short ways to what differs; and by plain chance, which goes further.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rumpci.pci4.abi import Op
from tests.netbsd.pair import Pair
from tests.netbsd.walk import CHOICES, STEPS, Walk

KINDS: dict[str, dict[str, Any]] = {
    "identity": {},
    "translated": {"iommu": True},
    "scattered": {"iommu": True, "scatter": 5},
    "identity, scattered": {"scatter": 6},
}
"""Without an IOMMU, with one, and with memory in as many segments as it may have."""
LENGTH, SOAK = 2500, 100_000


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What is refused is no news."""
    logger = logging.getLogger("rumpci")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


class Differential(RuleBasedStateMachine):
    """Every step of a walk is a rule."""

    kind = "identity"

    def __init__(self) -> None:
        super().__init__()
        self.walk = Walk(Pair(**KINDS[self.kind]))

    @invariant()
    def same_machine(self) -> None:
        self.walk.pair.check()

    def teardown(self) -> None:
        self.walk.pair.close(checked=sys.exc_info()[0] is None)


def _rule(name: str) -> Callable[[Differential, random.Random], None]:
    def step(self: Differential, dice: random.Random) -> None:
        getattr(self.walk, name)(dice)

    step.__name__ = name
    found: Callable[[Differential, random.Random], None] = rule(dice=st.randoms())(step)
    return found


for _name in STEPS:
    setattr(Differential, _name, _rule(_name))


class Translated(Differential):
    kind = "scattered"


TestDifferential = Differential.TestCase
TestTranslated = Translated.TestCase
TestDifferential.settings = TestTranslated.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_walk(kind: str, soak: bool) -> None:
    """With --soak from a seed that is new each time, and so long that it takes minutes."""
    seed = random.SystemRandom().getrandbits(32) if soak else 7
    dice = random.Random(seed)  # noqa: S311
    pair = Pair(**KINDS[kind])
    walk, done = Walk(pair), False
    try:
        for _ in range(SOAK if soak else LENGTH):
            getattr(walk, dice.choice(CHOICES))(dice)
            pair.check()
        done = True
    finally:
        pair.close(checked=done)
        print(f"seed {seed}: {sum(walk.asked.values())} requests, {walk.events} events")
    _check_depth(walk)


def _check_depth(walk: Walk) -> None:
    """The walk was not refused everything: each operation was granted, and each errno met."""
    granted = {name for name, errno in walk.asked if not errno}
    aside = {"VERSION", "LIST", "CLAIM_LIST", "INTR_LIST", "DMA_PAGE", "DMA_USAGE", "DMA_CHECK",
             "IOMMU_PAGE", "DMA_FAULTS"}  # fmt: skip
    assert {op.name for op in Op} - aside <= granted
    assert {0, 1, 6, 12, 13, 14, 16, 22, 24, 28, 34} <= {errno for _, errno in walk.asked}
    assert walk.events
