"""Frames of a page: its points seen after so many quarter turns clockwise, from the top left corner, downwards."""

from __future__ import annotations

from typing import NamedTuple, Self


class Box(NamedTuple):
    """A rectangle in points; ``top < bottom``, as the axis points down."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """Height in points."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Width in points."""
        return self.right - self.left

    @property
    def middle(self) -> tuple[float, float]:
        """The centre."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, point: tuple[float, float]) -> bool:
        """Tell whether a point is in it."""
        return self.left <= point[0] <= self.right and self.top <= point[1] <= self.bottom

    def with_box(self, other: Box) -> Box:
        """Return the smallest box with both in it."""
        left, top, right, bottom = self
        other_left, other_top, other_right, other_bottom = other
        return Box(
            min(other_left, left),
            min(other_top, top),
            max(other_right, right),
            max(other_bottom, bottom),
        )


class Frame(NamedTuple):
    """A page's visible rectangle in PDF's own coordinates (upwards), seen after `turn` quarter turns clockwise."""

    left: float
    bottom: float
    right: float
    top: float
    turn: int = 0

    def turned(self, turn: int) -> Self:
        """Return the same rectangle, seen after other quarter turns."""
        return self._replace(turn=turn % 4)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in points, as seen."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.turn % 2 else (width, height)

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """Return how a rectangle in PDF's coordinates is seen."""
        if self.turn == 0:
            return Box(left - self.left, self.top - top, right - self.left, self.top - bottom)
        if self.turn == 1:
            return Box(bottom - self.bottom, left - self.left, top - self.bottom, right - self.left)
        if self.turn == 2:  # noqa: PLR2004 (quarter turns)
            return Box(self.right - right, bottom - self.bottom, self.right - left, top - self.bottom)
        return Box(self.top - top, self.right - right, self.top - bottom, self.right - left)

    def seen_from(self, other: Frame, box: Box) -> Box:
        """Return how a box of another frame of the same page is seen in this one."""
        width, height = other.size
        for _ in range((self.turn - other.turn) % 4):
            box = Box(height - box.bottom, box.left, height - box.top, box.right)
            width, height = height, width
        return box
