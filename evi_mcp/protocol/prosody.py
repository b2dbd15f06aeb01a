"""The 48 expressions that EVI scores in a voice, and the choice of the strongest.

They describe how a voice sounds and not what a person feels (Hume's documentation).
"""

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
    highest = sorted(scores.values(), reverse=True)[:count]  # sorting the numbers first is three times as fast
    top = sorted((-score, name) for name, score in scores.items() if score >= highest[-1])
    return {name: round(-score, 2) for score, name in top[:count]}
