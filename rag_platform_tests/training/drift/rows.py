"""Rows without drift, and what can be changed about them."""

import numpy as np
import pandas as pd

MONEY = "card payment transfer balance account top up refund cash pin limit fee exchange"
TRAVEL = "flight hotel suitcase beach weather train ticket museum passport airport"
PLAIN = "how do i can you please my the a is why when what was for to not still with"


def sentences(words: str, count: int, random: np.random.Generator) -> list[str]:
    """Texts of 4 to 13 words, about half of them of a topic."""
    pool = np.array([*words.split(), *PLAIN.split()])
    return [" ".join(random.choice(pool, size)) for size in random.integers(4, 14, count)]


def drawn(count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows, and a model's answers to them, always of the same distributions."""
    random = np.random.default_rng(seed)
    score = random.beta(2, 5, count)
    rows = pd.DataFrame(
        {
            "unit": [f"u{at}" for at in range(count)],
            "group": [f"u{at}" for at in range(count)],
            "target": random.choice(["yes", "no"], count),
            "amount": random.lognormal(3, 1, count),
            "grade": random.integers(1, 5, count),
            "share": np.where(random.random(count) < 0.1, np.nan, random.normal(size=count)),
            "city": random.choice(
                ["north", "south", "east", "west"], count, p=[0.5, 0.3, 0.15, 0.05]
            ),
            "flag": random.random(count) < 0.2,
            "text": sentences(MONEY, count, random),
        }
    )
    answers = pd.DataFrame({"prediction": np.where(score > 0.4, "yes", "no"), "score": score})
    return rows, answers
