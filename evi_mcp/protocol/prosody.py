"""The 48 expressions that EVI scores in a voice, and how a few of them stand for all.

They describe how a voice sounds and not what a person feels (Hume's documentation).
"""

import heapq
from collections.abc import Mapping

SCORE_NAMES = (
    "Admiration", "Adoration", "Aesthetic Appreciation", "Amusement", "Anger", "Anxiety", "Awe", "Awkwardness",
    "Boredom", "Calmness", "Concentration", "Confusion", "Contemplation", "Contempt", "Contentment", "Craving",
    "Desire", "Determination", "Disappointment", "Disgust", "Distress", "Doubt", "Ecstasy", "Embarrassment",
    "Empathic Pain", "Entrancement", "Envy", "Excitement", "Fear", "Guilt", "Horror", "Interest", "Joy", "Love",
    "Nostalgia", "Pain", "Pride", "Realization", "Relief", "Romance", "Sadness", "Satisfaction", "Shame",
    "Surprise (negative)", "Surprise (positive)", "Sympathy", "Tiredness", "Triumph",
)  # fmt: skip


def strongest(scores: Mapping[str, float], count: int = 3) -> dict[str, float]:
    """The `count` highest scores, highest first, to two decimals; equal ones by name."""
    top = heapq.nsmallest(count, scores.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(score, 2) for name, score in top}
