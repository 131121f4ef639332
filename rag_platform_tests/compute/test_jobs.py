"""Which settings can work with a cluster, and what is said where there is none."""

import sys
from pathlib import Path
from typing import Any

import pytest

from rag_platform.compute.cluster import _own_cluster, connected, refuse_without_room
from rag_platform.compute.fill import fill
from rag_platform.compute.jobs import ComputeError, Job, problem
from rag_platform.platform import Platform
from rag_platform.settings import Settings
from rag_platform_tests.servers.ports import free_ports


def settings(home: Path, address: str, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "home": home,
            "sources": {"docs": {"url": home.as_uri(), "start": "2026-07-01"}},
            "compute": {"engine": "ray", "address": address},
            **more,
        }
    )


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({}, ["catalog", "storage"]),
        ({"catalog": "postgresql+psycopg://u:p@h/d"}, ["storage"]),
        ({"storage": "s3://bucket/prefix"}, ["catalog"]),
    ],
)
def test_other_machines_cannot_reach_local_stores(
    tmp_path: Path, more: dict[str, str], named: list[str]
) -> None:
    said = problem(settings(tmp_path, "head:6379", **more))
    assert said is not None
    assert [name for name in ("catalog", "storage") if f"{name} (" in said] == named
    with pytest.raises(ComputeError, match="cannot reach"):
        fill(
            Platform(settings(tmp_path, "auto", **more)), Job("parsed_docs", "docs"), ["2026-07-01"]
        )


def test_shared_stores_and_a_cluster_of_ones_own_are_well(tmp_path: Path) -> None:
    shared = {"catalog": "postgresql+psycopg://u:p@h/d", "storage": "s3://bucket/prefix"}
    assert problem(settings(tmp_path, "auto", **shared)) is None
    assert problem(settings(tmp_path, "local")) is None
    assert "Ray's client" in str(problem(settings(tmp_path, "ray://head:10001", **shared)))
    assert problem(settings(tmp_path, "auto", compute={"engine": "local"})) is None


def test_the_local_engine_fills_nothing(tmp_path: Path) -> None:
    parts = Platform(settings(tmp_path, "auto", compute={"engine": "local"}))
    assert fill(parts, Job("parsed_docs", "docs"), ["2026-07-01"]) == {}
    assert not (tmp_path / "catalog.db").exists()


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ComputeError, match=r"pip install 'rag_platform\[ray\]'"),
        connected("local"),
    ):
        pass


@pytest.mark.parametrize("by_environment", [False, True])
def test_nobody_listens_at_the_address(
    by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said at once: Ray itself would wait for minutes."""
    pytest.importorskip("ray", reason="needs the package ray")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    if by_environment:
        monkeypatch.setenv("RAY_ADDRESS", address)
        address = "auto"
    with (
        pytest.raises(ComputeError, match=rf"{address}: no Ray cluster answers"),
        connected(address),
    ):
        pass


def test_a_cluster_of_ones_own_leaves_nothing_behind_and_shows_nothing_to_others() -> None:
    with _own_cluster() as options:
        ours = Path(options["_temp_dir"])
        ours.mkdir(mode=0o777)  # as Ray does
        assert ours.parent.stat().st_mode & 0o777 == 0o700
        # Ray's sockets are some 70 characters longer; the system takes 107.
        assert len(str(ours)) < 107 - 70 or ours.parent.parent != Path("/tmp")
    assert not ours.parent.exists()


class Nodes:
    """What Ray says of a cluster's machines."""

    def __init__(self, *machines: dict[str, Any]) -> None:
        self._machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return list(self._machines)


def test_a_worker_must_fit_on_a_machine_that_lives() -> None:
    small = {"Alive": True, "Resources": {"CPU": 2.0}}
    large = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    refuse_without_room(Nodes(small, large), 4, 1)
    for machines in ([small], [small, large | {"Alive": False}], []):
        with pytest.raises(ComputeError, match="4 cores and 1 GPUs"):
            refuse_without_room(Nodes(*machines), 4, 1)
