"""Prophet by category; skipped where the extra is not installed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.trainers.prophet import Prophet
from rag_platform_tests.training.trainers.spending_rows import SERVICES, rows, weeks

pytest.importorskip("prophet")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Prophet's own
def test_a_trend_goes_on_and_the_same_seed_gives_the_same_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    rising = list(100 + 2.0 * np.arange(60) + random.normal(0, 3, 60))
    found = rows({"rising": rising, "new": [None] * 57 + [1.0, 2.0, 3.0]})
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    model = Prophet().fit(found, seed=5, services=SERVICES)
    assert (np.random.get_state(legacy=False)["state"]["key"] == state).all()
    assert "".join(capfd.readouterr()) == "", "it keeps its talk to itself"
    told = model.predict(weeks("rising", 60, 67))
    assert np.abs(told["prediction"] - (100 + 2.0 * np.arange(60, 68))).max() < 6
    assert (told["lower"] < told["prediction"]).all()
    assert (told["prediction"] < told["upper"]).all()
    assert (told["upper"] - told["lower"]).mean() == pytest.approx(2 * 1.2816 * 3, rel=0.5)
    assert model.predict(weeks("new", 60, 60))["prediction"].isna().all()
    model.save(tmp_path)
    asked = weeks("rising", 0, 67)
    loaded = Prophet().load(tmp_path, services=SERVICES)
    again = Prophet().fit(found, seed=5, services=SERVICES)
    pd.testing.assert_frame_equal(loaded.predict(asked), model.predict(asked))
    pd.testing.assert_frame_equal(again.predict(asked), model.predict(asked))
