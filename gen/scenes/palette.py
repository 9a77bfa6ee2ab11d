"""Named colours of objects: every two are told apart, also from the ground of a scene.

The nearest two lie 30 apart in CIELAB, the first twelve 33; a difference of 2 is just visible.
"""

from __future__ import annotations

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (222, 20, 30),
    "green": (0, 125, 45),
    "blue": (25, 70, 230),
    "yellow": (250, 225, 0),
    "orange": (255, 140, 0),
    "purple": (130, 30, 165),
    "pink": (255, 130, 195),
    "cyan": (0, 205, 225),
    "brown": (125, 70, 30),
    "black": (12, 12, 12),
    "gray": (128, 128, 128),
    "lime": (150, 230, 40),
    "navy": (10, 15, 95),
    "maroon": (115, 0, 35),
    "teal": (0, 128, 128),
    "violet": (170, 120, 250),
}
"""name → RGB; the first colours are the ones that a number of colours takes"""
UNNAMED = PALETTE["black"]
"""colour of objects whose colour is no concept"""
GROUND = (234, 250)
"""darkest and lightest grey of a scene's ground"""
