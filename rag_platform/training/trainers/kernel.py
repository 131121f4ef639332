"""Classes by regularised least squares with a Gaussian kernel, and probabilities for them.

One Cholesky factor serves all classes, and gives beside them what each row would have been answered
by a model without it, from which the probabilities are made: no further fit is needed (Rifkin and
Klautau 2004, JMLR 5; Rifkin and Lippert 2007, MIT-CSAIL-TR-2007-025). The cost grows with the cube
of the rows; many rows are dealt out to several such models, whose answers are averaged (Zhang,
Duchi and Wainwright 2015, JMLR 16).
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Rows of one model: 400 MB and some ten seconds of one core.
MAX_ROWS = 10_000
# exp(-WIDTH d²) with d the distance of two rows, which are unit vectors mostly.
WIDTH = 1.0
# What is added to the kernel's diagonal.
RIDGE = 0.2
# Rows whose answer without themselves is worked out.
LEFT_OUT = 1_000
_AT_ONCE = 2_000
_LEAST_SCALE, _GREATEST_SCALE = 1.0, 100.0


@dataclass(frozen=True)
class Features:
    """Rows as vectors: some columns dense, others sparse. Every row has finite values."""

    dense: Floats
    sparse: Any  # scipy's csr_array, float32

    def __len__(self) -> int:
        return len(self.dense)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> "Features":
        return Features(self.dense[rows], self.sparse[rows])

    def kernel(self, others: "Features") -> Floats:
        """The Gaussian kernel of each row here (down) with each of the others (across)."""
        kernel: Floats = np.empty((len(self), len(others)), np.float32)
        for begin in range(0, len(self), _AT_ONCE):
            rows = self[begin : begin + _AT_ONCE]
            block = kernel[begin : begin + _AT_ONCE]
            np.matmul(rows.dense, others.dense.T, out=block)
            block += (rows.sparse @ others._transposed).toarray()
            block *= 2
            block -= rows._squares[:, None]
            block -= others._squares
            block *= WIDTH
            np.exp(np.minimum(block, 0, out=block), out=block)
        return kernel

    @functools.cached_property
    def _transposed(self) -> Any:
        return self.sparse.T.tocsr()

    @functools.cached_property
    def _squares(self) -> Floats:
        """The squared length of each row."""
        dense = np.einsum("ij,ij->i", self.dense, self.dense)
        squares: Floats = dense + np.asarray(self.sparse.power(2).sum(axis=1)).ravel()
        return squares


@dataclass(frozen=True)
class Part:
    """A model of some of the rows: their features, and how much each speaks for each class."""

    features: Features
    weights: Floats


@dataclass(frozen=True)
class KernelClassifier:
    """Probabilities of classes: softmax of `scale` times the mean of the parts' answers.

    `prior` has shape (classes,): each class's share of the rows. A part's weights have shape
    (rows, classes).
    """

    parts: tuple[Part, ...]
    prior: Floats
    scale: float

    @staticmethod
    def fit(
        features: Features, codes: NDArray[np.intp], classes: int, *, seed: int
    ) -> "KernelClassifier":
        """A model of rows with the number of their class, each class with a row at least."""
        prior = (np.bincount(codes, minlength=classes) / len(codes)).astype(np.float32)
        dealt = _dealt(codes, -(-len(codes) // MAX_ROWS), seed)
        share = max(1, LEFT_OUT // len(dealt))
        parts, answers, true = [], [], []
        for rows in dealt:
            targets = np.eye(classes, dtype=np.float32)[codes[rows]] - prior
            part, left_out, values = _fit(features[rows], targets, share)
            parts.append(part)
            answers.append(prior + values)
            true.append(codes[rows[left_out]])
        scale = _scale(np.concatenate(answers), np.concatenate(true))
        return KernelClassifier(tuple(parts), prior, scale)

    def probabilities(self, features: Features) -> Floats:
        """Of shape (rows, classes), each row with the sum 1."""
        found = np.empty((len(features), len(self.prior)), np.float32)
        for begin in range(0, len(features), _AT_ONCE):
            rows = features[begin : begin + _AT_ONCE]
            told = sum(rows.kernel(part.features) @ part.weights for part in self.parts)
            found[begin : begin + _AT_ONCE] = self.prior + told / len(self.parts)
        return softmax(self.scale * found)


def softmax(values: Floats) -> Floats:
    """Of each row."""
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _dealt(codes: NDArray[np.intp], parts: int, seed: int) -> list[NDArray[np.intp]]:
    """Positions of rows in each part; every part has its share of each class."""
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    return [np.sort(order[part::parts]) for part in range(parts)]


def _fit(features: Features, targets: Floats, share: int) -> tuple[Part, NDArray[np.intp], Floats]:
    """A part, and for some rows, evenly spread, their values in a model without themselves."""
    from scipy.linalg import cholesky, solve_triangular

    kernel = features.kernel(features)
    kernel[np.diag_indices_from(kernel)] += RIDGE
    # Transposed, for LAPACK wants the order of Fortran and the matrix is symmetric.
    factor = cholesky(kernel.T, lower=True, overwrite_a=True, check_finite=False)
    halfway = solve_triangular(factor, targets, lower=True, check_finite=False)
    weights = solve_triangular(factor, halfway, lower=True, trans=1, check_finite=False)
    left_out = np.unique(np.linspace(0, len(targets) - 1, share).astype(np.intp))
    chosen = np.zeros((len(targets), len(left_out)), np.float32)
    chosen[left_out, np.arange(len(left_out))] = 1
    inverse = np.square(
        solve_triangular(factor, chosen, lower=True, overwrite_b=True, check_finite=False)
    ).sum(axis=0)
    values = targets[left_out] - weights[left_out] / inverse[:, None]
    return Part(features, np.ascontiguousarray(weights)), left_out, values


def _scale(values: Floats, codes: NDArray[np.intp]) -> float:
    """The scale under which the classes are likeliest (temperature scaling, Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def unlikely(log_scale: float) -> float:
        scaled = np.exp(log_scale) * values.astype(np.float64)
        scaled -= scaled.max(axis=1, keepdims=True)
        told = scaled[np.arange(len(codes)), codes] - np.log(np.exp(scaled).sum(axis=1))
        return float(-told.mean())

    bounds = (np.log(_LEAST_SCALE), np.log(_GREATEST_SCALE))
    return float(np.exp(minimize_scalar(unlikely, bounds=bounds, method="bounded").x))
