"""Classes by a kernel, held against the same worked out in other ways."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from scipy.special import log_expit
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from rag_platform.training.trainers import kernel
from rag_platform.training.trainers.kernel import Curve, Features, KernelClassifier


def some(count: int, seed: int = 0) -> Features:
    random = np.random.default_rng(seed)
    dense = (random.normal(size=(count, 3)) / 2).astype(np.float32)
    sparse = random_array((count, 20), density=0.2, rng=random, dtype=np.float32)
    return Features(dense, csr_array(sparse))


def whole(features: Features) -> np.ndarray:
    return np.hstack([features.dense, features.sparse.toarray()]).astype(np.float64)


def test_the_kernel_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_AT_ONCE", 7)
    a, b = some(30), some(20, seed=1)
    expected = rbf_kernel(whole(a), whole(b), gamma=kernel.WIDTH)
    np.testing.assert_allclose(a.kernel(b), expected, atol=1e-5)


def fitted(count: int = 120, classes: int = 3) -> tuple[Features, np.ndarray, KernelClassifier]:
    features = some(count)
    codes = (whole(features)[:, 0] > 0).astype(np.intp) + (whole(features)[:, 1] > 0.3)
    assert len(np.unique(codes)) == classes
    return features, codes, KernelClassifier.fit(features, codes, classes, seed=0)


def shares(answers: Any, curve: Curve) -> Any:
    raised = (-log_expit(-answers / curve.floor)) ** curve.power
    return raised / raised.sum(axis=1, keepdims=True)


def test_the_answers_are_those_of_kernel_ridge() -> None:
    features, codes, model = fitted()
    others = some(25, seed=2)
    targets = np.eye(3)[codes]
    ridge = KernelRidge(alpha=kernel.RIDGE, kernel="rbf", gamma=kernel.WIDTH)
    ridge.fit(whole(features), targets - targets.mean(axis=0))
    expected = shares(targets.mean(axis=0) + ridge.predict(whole(others)), model.curve)
    np.testing.assert_allclose(model.probabilities(others), expected, atol=1e-4)


def test_left_out_answers_are_those_of_models_without_the_row() -> None:
    features, codes, _ = fitted(count=60)
    targets = (np.eye(3, dtype=np.float32)[codes] - np.float32(1 / 3)).astype(np.float32)
    _, left_out, values = kernel._fit(features, targets, 5)
    for row, told in zip(left_out, values, strict=True):
        kept = np.delete(np.arange(60), row)
        ridge = KernelRidge(alpha=kernel.RIDGE, kernel="rbf", gamma=kernel.WIDTH)
        ridge.fit(whole(features)[kept], targets[kept])
        np.testing.assert_allclose(told, ridge.predict(whole(features)[[row]])[0], atol=1e-4)


def test_many_rows_are_dealt_out_and_the_answers_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes, _ = fitted()
    monkeypatch.setattr(kernel, "MAX_ROWS", 50)
    model = KernelClassifier.fit(features, codes, 3, seed=0)
    assert [len(part.features) for part in model.parts] == [40, 40, 40]
    others, targets = some(25, seed=2), np.eye(3)[codes]
    answers = []
    for rows in kernel._dealt(codes, 3, 0):
        ridge = KernelRidge(alpha=kernel.RIDGE, kernel="rbf", gamma=kernel.WIDTH)
        ridge.fit(whole(features)[rows], (targets - targets.mean(axis=0))[rows])
        answers.append(targets.mean(axis=0) + ridge.predict(whole(others)))
    expected = shares(np.mean(answers, axis=0), model.curve)
    np.testing.assert_allclose(model.probabilities(others), expected, atol=1e-4)


def test_each_part_has_its_share_of_each_class() -> None:
    codes = np.repeat([0, 1, 2], [90, 30, 3])
    parts = kernel._dealt(codes, 3, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(123))
    assert [np.bincount(codes[part]).tolist() for part in parts] == [[30, 10, 1]] * 3


def test_the_curve_makes_the_classes_likeliest() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.2, 0.2, size=(4_000, 3)).astype(np.float32)
    known = Curve(power=2.0, floor=0.1)
    codes = (random.random((4_000, 1)) > shares(values, known).cumsum(axis=1)).sum(axis=1)
    found = Curve.fit(values, codes)
    np.testing.assert_allclose(found.probabilities(values), shares(values, known), atol=0.05)
    assert found.probabilities(values[:5] * 1e6).sum(axis=1) == pytest.approx(1)
