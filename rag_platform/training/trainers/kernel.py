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
# Where the search for the curve begins, and between which logarithms it stays.
_POWER, _FLOOR = 3.0, 0.05
_BOUNDS = (np.log([0.3, 1e-3]), np.log([30.0, 1.0]))


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
class Curve:
    """From answers to probabilities: softplus(answer / floor) to a power, in shares of the row.

    An answer is near the probability already, but may be below zero and is too even. A softmax of
    the answers, with its one number, is too sure of itself where they are near one.
    """

    power: float
    floor: float

    @staticmethod
    def fit(values: Floats, codes: NDArray[np.intp]) -> "Curve":
        """The curve under which the true classes of these answers are likeliest."""
        from scipy.optimize import minimize

        rows, exact = np.arange(len(codes)), values.astype(np.float64)

        def unlikely(logs: NDArray[np.float64]) -> float:
            curve = Curve(*np.exp(np.clip(logs, *_BOUNDS)).tolist())
            return float(-curve.logarithms(exact)[rows, codes].mean())

        start = np.log([_POWER, _FLOOR])
        found = minimize(unlikely, start, method="Nelder-Mead", options={"xatol": 1e-3})
        return Curve(*np.exp(np.clip(found.x, *_BOUNDS)).tolist())

    def logarithms(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Of the probabilities of answers of shape (rows, classes)."""
        least = np.finfo(np.float32).tiny
        raised = self.power * np.log(np.logaddexp(0, values / self.floor) + least)
        raised -= raised.max(axis=1, keepdims=True)
        logarithms: NDArray[np.floating[Any]] = raised - np.log(
            np.exp(raised).sum(axis=1, keepdims=True)
        )
        return logarithms

    def probabilities(self, values: Floats) -> Floats:
        """Of answers of shape (rows, classes); each row has the sum 1."""
        return np.asarray(np.exp(self.logarithms(values)), np.float32)


@dataclass(frozen=True)
class Part:
    """A model of some of the rows: their features, and how much each speaks for each class."""

    features: Features
    weights: Floats


@dataclass(frozen=True)
class KernelClassifier:
    """Probabilities of classes, made of the mean of the parts' answers by `curve`.

    `prior` has shape (classes,): each class's share of the rows. A part's weights have shape
    (rows, classes).
    """

    parts: tuple[Part, ...]
    prior: Floats
    curve: "Curve"

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
        curve = Curve.fit(np.concatenate(answers), np.concatenate(true))
        return KernelClassifier(tuple(parts), prior, curve)

    def probabilities(self, features: Features) -> Floats:
        """Of shape (rows, classes), each row with the sum 1."""
        found = np.empty((len(features), len(self.prior)), np.float32)
        for begin in range(0, len(features), _AT_ONCE):
            rows = features[begin : begin + _AT_ONCE]
            told = sum(rows.kernel(part.features) @ part.weights for part in self.parts)
            found[begin : begin + _AT_ONCE] = self.prior + told / len(self.parts)
        return self.curve.probabilities(found)


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
