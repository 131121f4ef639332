"""The quality gate on a page: fields that are missing, and documents unlike those before them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from rag_platform.enrichment.fields import REQUIRED
from rag_platform.settings_pipelines import QualitySettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import enrichments

Floats = NDArray[np.float64]

# A single document, however odd, says nothing about its page.
_AT_LEAST = 2
# Without this many documents to compare with, nobody is an outlier.
_BASELINE = 30
_HISTORY = 1_000
# Robust z-scores beyond this are outliers (Iglewicz and Hoaglin).
_Z = 3.5
_MAD_TO_Z = 0.6745
_TAILS = (1, 99)
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Measures:
    """Of one document: clean text in characters, quality and raw confidence from 0 to 1."""

    characters: int
    quality: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class _Feature:
    """A measure that is compared. Below `least` a spread is no spread: most are alike, and
    those that differ a little are not odd. `both`: too much is as odd as too little."""

    least: float
    both: bool


_FEATURES = {
    "characters": _Feature(0.5, True),  # as natural logarithm
    "quality": _Feature(0.1, False),
    "confidence": _Feature(0.15, False),
}


@dataclass(frozen=True, slots=True)
class Odd:
    """A document that counts against its page: required fields that it lacks, and the measures in
    which it is an outlier, such as "quality 0.12"."""

    key: str
    missing: tuple[str, ...]
    unlike: tuple[str, ...]


@dataclass(slots=True)
class PageQuality:
    """What the gate found; it holds without `problems`. `odd` are the first 20 such documents."""

    documents: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    null_share: float = 0.0
    outliers: int = 0
    outlier_share: float = 0.0
    odd: list[Odd] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class PageMeter:
    """Collects the documents of a page and judges it."""

    def __init__(self) -> None:
        self._missing = dict.fromkeys(REQUIRED, 0)
        self._documents: list[tuple[str, tuple[str, ...]]] = []
        self._measures: list[Measures] = []

    def add(self, key: str, missing: Sequence[str], measures: Measures) -> None:
        """One document, with the required fields that it lacks."""
        for name in missing:
            self._missing[name] += 1
        self._documents.append((key, tuple(missing)))
        self._measures.append(measures)

    def judge(self, history: Sequence[Measures], rules: QualitySettings) -> PageQuality:
        """The page against the source's history, oldest windows left out where there are many."""
        found = PageQuality(documents=len(self._measures), missing=self._missing)
        if not self._measures:
            return found
        nulls = sum(self._missing.values())
        found.null_share = nulls / (len(REQUIRED) * found.documents)
        unlike = odd_measures(self._measures, history)
        found.outliers = int(np.any(list(unlike.values()), axis=0).sum())
        found.outlier_share = found.outliers / found.documents
        found.odd = list(islice(self._odd(unlike), _SHOWN))
        incomplete = sum(bool(missing) for _, missing in self._documents)
        if found.null_share > rules.max_null_share and incomplete >= _AT_LEAST:
            names = ", ".join(f"{name} {n:,}" for name, n in self._missing.items() if n)
            found.problems.append(
                f"{found.null_share:.0%} of the required fields of {found.documents:,} documents "
                f"are missing ({names}), over max_null_share {rules.max_null_share:.0%}"
            )
        if found.outlier_share > rules.max_outlier_share and found.outliers >= _AT_LEAST:
            found.problems.append(
                f"{found.outliers:,} of {found.documents:,} documents are outliers in length, "
                f"quality or confidence, over max_outlier_share {rules.max_outlier_share:.0%}"
            )
        return found

    def _odd(self, unlike: Mapping[str, NDArray[np.bool_]]) -> Iterator[Odd]:
        rows = zip(self._documents, self._measures, strict=True)
        for number, ((key, missing), measures) in enumerate(rows):
            odd = [name for name, flags in unlike.items() if flags[number]]
            if missing or odd:
                yield Odd(key, missing, tuple(f"{name} {_shown(measures, name)}" for name in odd))


def outliers(page: Sequence[Measures], history: Sequence[Measures]) -> NDArray[np.bool_]:
    """Which documents of a page are outliers in any measure, shape (len(page),), bool."""
    odd = np.zeros(len(page), dtype=bool)
    for flags in odd_measures(page, history).values():
        odd |= flags
    return odd


def odd_measures(
    page: Sequence[Measures], history: Sequence[Measures]
) -> dict[str, NDArray[np.bool_]]:
    """Which documents of a page are outliers, by measure; each of shape (len(page),), bool.

    By robust z-scores (median and MAD) against the history, and beyond its first or last
    percentile too: a long tail that the source always had is none of this page. While fewer than
    30 documents came before, history and page together are the measure; below 30 in all nobody is
    an outlier.
    """
    found = {}
    for name, feature in _FEATURES.items():
        odd = found[name] = np.zeros(len(page), dtype=bool)
        values = _values(page, name)
        past = _known(_values(history, name))
        baseline = past if len(past) >= _BASELINE else np.concatenate([past, _known(values)])
        if len(baseline) < _BASELINE:
            continue
        middle = np.median(baseline)
        spread = max(float(np.median(np.abs(baseline - middle))), feature.least * _MAD_TO_Z)
        z = _MAD_TO_Z * (values - middle) / spread
        low, high = np.percentile(past, _TAILS) if baseline is past else (np.inf, -np.inf)
        with np.errstate(invalid="ignore"):
            odd |= (z < -_Z) & (values < low)
            if feature.both:
                odd |= (z > _Z) & (values > high)
    return found


def _shown(measures: Measures, name: str) -> str:
    value = getattr(measures, name)
    return f"{value:,}" if name == "characters" else f"{value:.2f}"


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _values(measures: Iterable[Measures], name: str) -> Floats:
    values = np.array(
        [np.nan if (v := getattr(m, name)) is None else v for m in measures], dtype=np.float64
    )
    return np.log1p(values) if name == "characters" else values


def history(catalog: Catalog, source: str, window: str) -> list[Measures]:
    """The documents of the source's windows before one, the newest 1,000 of them; without those
    of pages that did not hold."""
    statement = (
        sa.select(enrichments.c.fields, enrichments.c.raw_confidence)
        .where(
            enrichments.c.source == source,
            enrichments.c.window < window,
            enrichments.c.status.not_in(("deferred", "held")),
        )
        .order_by(enrichments.c.window.desc(), enrichments.c.seq.desc())
        .limit(_HISTORY)
    )
    with catalog.read() as connection:
        return [
            Measures(row.fields.get("characters", 0), row.fields.get("quality"), row.raw_confidence)
            for row in connection.execute(statement)
        ]
