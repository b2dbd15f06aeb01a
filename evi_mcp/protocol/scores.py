"""The scores of one utterance, packed: unpacked they would take most of a chat's memory."""

from array import array
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Self

from evi_mcp.protocol.prosody import SCORE_NAMES

MOST_KNOWN = 64
"""How many sets of names are shared. EVI has one; a service with many must not fill the memory."""

_known: dict[tuple[str, ...], tuple[str, ...]] = {}


class Scores(Mapping[str, float]):
    """Scores by name, in a fixed order; read-only, and a ninth of the size of a `dict`.

    Scores with the same names share one tuple of names.

    Raises:
        TypeError: A value is no number.
        OverflowError: It is an integer that no float can hold.
    """

    __slots__ = ("_names", "_values")

    def __init__(self, scores: Mapping[str, float]) -> None:
        names = tuple(scores)
        if names not in _known and len(_known) < MOST_KNOWN:
            _known[names] = names
        self._names = _known.get(names, names)
        self._values = array("d", list(scores.values())).tobytes()  # a list is twice as fast as the view

    @classmethod
    def of_evi(cls, values: tuple[float, ...]) -> Self | None:
        """The scores under EVI's 48 names, in `SCORE_NAMES` order.

        Args:
            values: NaN for each score that did not come.

        Returns:
            `None` if none came.
        """
        total = sum(values)
        if total != total:  # NaN: some did not come
            came = {name: value for name, value in zip(SCORE_NAMES, values, strict=True) if value == value}
            return cls(came) if came else None
        scores = cls.__new__(cls)
        scores._names, scores._values = SCORE_NAMES, array("d", values).tobytes()
        return scores

    def __getitem__(self, name: str) -> float:
        try:
            return self._floats()[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _floats(self) -> "array[float]":
        return array("d", self._values)  # bytes are smaller to keep

    def items(self) -> ItemsView[str, float]:
        return _Items(self)

    def values(self) -> ValuesView[float]:
        return _Values(self)

    def __repr__(self) -> str:
        return f"Scores({dict(self)!r})"


class _Items(ItemsView[str, float]):
    """Iterates without a look-up for each name."""

    _mapping: Scores

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self._mapping._names, self._mapping._floats(), strict=True)


class _Values(ValuesView[float]):
    """Iterates without a look-up for each name."""

    _mapping: Scores

    def __iter__(self) -> Iterator[float]:
        return iter(self._mapping._floats())
