"""Who attaches what: every function goes to the driver that matches it best, as in one process.

First each child tells how well its drivers match every function.  Then the functions are gone
through in the machine's order; who is the best for one is told to attach it, and the next
function waits until that is over.  What is gone through once is a round: the first one has all
drivers, later ones are for a driver that was started again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from rumpci.autoconf import Console, not_configured, offered
from rumpci.host import Address, Function
from rumpci.supervisor.keeper import Keeper, State
from rumpci.supervisor.post import Post, best_of
from rumpci.supervisor.units import UnitBook

Offers = Iterable[tuple[Function, str]]
Round = Generator[Keeper, None, list[Keeper]]
"""Tells whom it waits for, and at its end who of it lives."""


class Rounds:
    """The rounds of a run, and the names of the buses."""

    def __init__(self, posts: Sequence[Post], console: Console, units: UnitBook) -> None:
        self._posts, self._console, self._units = posts, console, units
        self._buses: dict[Address, str] = {}
        self._waiting: dict[Keeper, Round] = {}
        self._attached = 0

    def first(self, functions: Sequence[Function]) -> list[Keeper] | None:
        """Begin the first; as `goes_on`."""

        def unit(name: str) -> int:
            return self._units.take(name, self)

        def offers() -> Offers:
            for function, bus in offered(functions, self._console, unit):
                self._buses[function.address] = bus
                yield function, bus

        return self._go(self._round(offers(), self._living(self._posts), say=True))

    def again(self, post: Post, functions: Sequence[Function]) -> list[Keeper] | None:
        """Begin one for a driver that was started again: it gets what is free and best its."""
        buses = self._buses
        free = [f for f in functions if f.claimed_by is None and f.address in buses]
        own = [(f, buses[f.address]) for f in free if best_of(self._posts, f.address) is post]
        return self._go(self._round(own, self._living([post]), say=False))

    def goes_on(self, keeper: Keeper) -> list[Keeper] | None:
        """A child has attached what it was told to, or ended.

        If that ends its round: the children of the round that live; else None.
        """
        waiting = self._waiting.pop(keeper, None)
        return self._go(waiting) if waiting else None

    def _go(self, waiting: Round) -> list[Keeper] | None:
        """Let a round go on until it waits for a child."""
        try:
            waits_for = next(waiting)
        except StopIteration as over:
            return list(over.value)
        self._waiting[waits_for] = waiting
        return None

    def _round(self, offers: Offers, keepers: Sequence[Keeper], *, say: bool) -> Round:
        for keeper in keepers:
            keeper.state = State.ATTACHING
        for function, bus in offers:
            post = best_of(self._posts, function.address)
            best = post.keeper if post else None
            if post is None and say:
                not_configured(function, bus, self._console)
            elif best and best in keepers and best.state is State.ATTACHING:
                yield self._give(best, function, bus)
        living = self._living(self._posts)
        return [keeper for keeper in keepers if keeper in living]

    def _give(self, keeper: Keeper, function: Function, bus: str) -> Keeper:
        self._attached += 1
        keeper.attached = self._attached
        keeper.devices.add(function.address)
        keeper.order("attach", device=str(function.address), bus=bus)
        return keeper

    def _living(self, posts: Sequence[Post]) -> list[Keeper]:
        return [post.keeper for post in posts if post.keeper]
