"""Whether rows tell what they must not: held-back rows that were seen, the target as a feature."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

# What a single feature may tell of the target; what is above is no feature, but the target itself.
MAX_TOLD = 0.999
MIN_ROWS = 50
MIN_CLASS_ROWS = 10
# A numeric target with more different values is a quantity, with fewer it is a class.
_MAX_CLASSES = 20
_BIN_ROWS, _MAX_BINS = 10, 100
# Of the held-back rows, those that may stand among the others as well.
MAX_SHARED = 0.02
# Rows of few columns with few values meet by chance; only where most differ, equals are copies.
_MIN_DIFFERENT = 0.5

Column = "pd.Series[Any]"


def shared(contents: NDArray[np.uint64], held_back: NDArray[np.bool_]) -> float:
    """The share of held-back rows whose content also stands among the others.

    `contents` are hashes of the rows without unit, group and target. 0 where rows meet by chance.
    """
    if not len(contents) or len(np.unique(contents)) < _MIN_DIFFERENT * len(contents):
        return 0.0
    known = np.isin(contents[held_back], contents[~held_back])
    return float(known.mean()) if len(known) else 0.0


def telling(features: "pd.DataFrame", target: "pd.Series[Any]") -> Iterator[tuple[str, str]]:
    """The features that alone tell the target nearly perfectly, and by which measure.

    Values are plain (`snapshots.plain`): numbers, truth values or texts. Of a quantity the measure
    is Spearman's rank correlation, of two classes the area under the ROC curve, and of any number
    of classes the balanced accuracy with which the other rows of the same value tell a row's class.
    """
    import pandas as pd

    if len(target) < MIN_ROWS:
        return
    is_number = pd.api.types.is_numeric_dtype(target.dtype)
    if is_number and target.nunique() > _MAX_CLASSES:
        for name in features.select_dtypes("number"):
            if (found := _correlation(features[name], target)) > MAX_TOLD:
                yield str(name), f"rank correlation {found:.4f}"
        return
    classes = target.astype(str)
    counts = classes.value_counts()
    kept = classes.isin(counts.index[counts >= MIN_CLASS_ROWS]).to_numpy()
    codes = pd.factorize(classes[kept])[0]
    if kept.sum() < MIN_ROWS or codes.max() < 1:
        return
    for name in features:
        if measure := _class_told(features[name][kept], codes):
            yield str(name), measure


def _class_told(column: "pd.Series[Any]", codes: NDArray[Any]) -> str | None:
    import pandas as pd

    if pd.api.types.is_float_dtype(column.dtype) or pd.api.types.is_integer_dtype(column.dtype):
        if codes.max() == 1 and (area := _area(column, codes)) > MAX_TOLD:
            return f"area under the ROC curve {area:.4f}"
        if column.nunique() > len(column) / 5:
            bins = int(np.clip(column.count() // _BIN_ROWS, 1, _MAX_BINS))
            column = pd.qcut(column, bins, labels=False, duplicates="drop")
    accuracy = _balanced_accuracy(pd.factorize(column, use_na_sentinel=False)[0], codes)
    return f"balanced accuracy {accuracy:.4f}" if accuracy > MAX_TOLD else None


def _area(column: "pd.Series[Any]", codes: NDArray[Any]) -> float:
    """By the rank sum (Mann and Whitney), whichever class has the higher values."""
    from scipy.stats import rankdata

    told = column.notna().to_numpy()
    is_one = codes[told] == 1
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if min(ones, zeros) < MIN_CLASS_ROWS:
        return 0.0
    ranks = rankdata(column.to_numpy(np.float64)[told])
    area = (ranks[is_one].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))


def _correlation(column: "pd.Series[Any]", target: "pd.Series[Any]") -> float:
    from scipy.stats import spearmanr

    told = (column.notna() & target.notna()).to_numpy()
    x, y = column.to_numpy(np.float64)[told], target.to_numpy(np.float64)[told]
    if len(x) < MIN_ROWS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return abs(float(spearmanr(x, y).statistic))


def _balanced_accuracy(values: NDArray[Any], codes: NDArray[Any]) -> float:
    """Each row's class told by the most frequent one of the other rows with its value."""
    width = int(codes.max()) + 1
    pairs, counts = np.unique(values.astype(np.int64) * width + codes, return_counts=True)
    value, code = pairs // width, pairs % width
    # Largest first within each value, so that the first two are the most frequent classes.
    order = np.lexsort((-counts, value))
    value, code, counts = value[order], code[order], counts[order]
    is_first = np.r_[True, value[1:] != value[:-1]]
    next_count = np.r_[counts[1:], 0] * ~np.r_[is_first[1:], True]
    right = np.where(is_first & (counts - 1 > next_count), counts, 0)
    hits = np.bincount(code, right, width)
    return float(np.mean(hits / np.bincount(codes, minlength=width)))
