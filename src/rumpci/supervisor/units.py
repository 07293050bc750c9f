"""Numbers of devices, such as the 0 of edu0, that no two children of a run share."""

from __future__ import annotations


class UnitBook:
    """Who has which numbers; what one gives back is used again."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[int, object]] = {}

    def take(self, name: str, owner: object) -> int:
        """The lowest free number of a name."""
        taken = self._taken.setdefault(name, {})
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        taken[number] = owner
        return number

    def give(self, owner: object) -> None:
        """Take back all that `owner` has."""
        for name, taken in list(self._taken.items()):
            left = {number: whose for number, whose in taken.items() if whose is not owner}
            self._taken[name] = left
            if not left:
                del self._taken[name]
