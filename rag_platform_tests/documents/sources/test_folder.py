"""A folder as a source."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_platform.documents.sources.base import NotTaken, SourceUnavailable
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.documents.sources.selection import Selection
from rag_platform_tests.documents.sources.listings import EVERYTHING, listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my docs #1"
    made.mkdir()
    return made


@pytest.fixture
def source(folder: Path) -> FolderSource:
    return FolderSource(folder.as_uri(), EVERYTHING)


def test_odd_names_are_listed_and_read(folder: Path, source: FolderSource) -> None:
    names = [
        "with space.md",
        "new\nline.md",
        "copy.md#1",
        "100%25.md",
        "back\\slash.md",
        "-rf",
        "ü/é/水.md",
        "a/..b/...",
        ".hidden/.file",
        "q?x=1&y",
    ]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * number)
    found = listed(source)
    assert {key: one.size for key, one in found.items()} == {n: i for i, n in enumerate(names)}
    assert {one.failure for one in found.values()} == {None}
    for number, name in enumerate(names):
        fetched = source.fetch(name)
        assert fetched is not None
        assert fetched.content == b"x" * number
        assert (fetched.etag, fetched.modified) == (found[name].etag, found[name].modified)
    assert source.uri("a b.md") == f"{folder.as_uri()}/a b.md"


def test_a_name_that_is_not_text(folder: Path, source: FolderSource) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.md", "wb") as file:
        file.write(b"text")
    found = listed(source)
    assert list(found) == ["caf\\xe9.md"]
    assert found["caf\\xe9.md"].failure == "bad_name"
    assert "rename the file" in found["caf\\xe9.md"].detail


def test_links(folder: Path, source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file.md").write_text("far")
    (folder / "sub").mkdir()
    (folder / "sub" / "real.md").write_text("near")
    (folder / "inside.md").symlink_to("sub/real.md")
    (folder / "outside.md").symlink_to(tmp_path / "secret.txt")
    (folder / "upwards.md").symlink_to("../secret.txt")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "sub" / "round").symlink_to("..")
    (folder / "nowhere.md").symlink_to("missing")
    (folder / "self.md").symlink_to("self.md")
    (folder / "one.md").symlink_to("two.md")
    (folder / "two.md").symlink_to("one.md")
    (folder / "below a file.md").symlink_to("sub/real.md/x")
    (folder / "long.md").symlink_to("n" * 300)
    found = listed(source)
    assert {key: one.failure for key, one in found.items()} == {
        "sub/real.md": None,
        "inside.md": None,
        "outside.md": "outside_source",
        "upwards.md": "outside_source",
    }
    fetched = source.fetch("inside.md")
    assert fetched is not None
    assert fetched.content == b"near"


def test_a_link_that_is_led_out_after_the_listing(
    folder: Path, source: FolderSource, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("a")
    assert list(listed(source)) == ["sub/a.md"]
    (folder / "sub" / "a.md").unlink()
    (folder / "sub" / "a.md").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(NotTaken, match="outside_source"):
        source.fetch("sub/a.md")


def test_what_is_no_file_is_no_document(folder: Path, source: FolderSource) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "empty").mkdir()
    (folder / "null").symlink_to("/dev/null")
    assert listed(source) == {}


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("missing", "file"):
        with pytest.raises(SourceUnavailable, match="no such folder"):
            list(FolderSource((tmp_path / name).as_uri(), EVERYTHING).batches())


def test_a_folder_that_goes_during_the_scan(
    folder: Path, source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "a.md").write_text("a")
    scan = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "sub":
            (folder / "sub").rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceUnavailable, match=r"listing failed at .*sub.*nothing was recorded"):
        list(source.batches())


# Root may read everything, so the listing is done by nobody where the tests run as root.
_LIST = """
import os, sys
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.documents.sources.selection import Selection
source = FolderSource(sys.argv[1], Selection.of(("**",), tuple(sys.argv[2:])))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print([found.key for batch in source.batches() for found in batch])
except SourceUnavailable as error:
    print(error)
"""


def test_a_folder_that_must_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "open.md").write_text("x")
        (folder / "closed").mkdir(mode=0)
        command = [sys.executable, "-c", _LIST, folder.as_uri()]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        excluded = subprocess.run([*command, "closed/"], capture_output=True, text=True, check=True)
    assert f"listing failed at '{folder}/closed' (Permission denied)" in result.stdout
    assert result.stdout.count("\n") == 1
    assert excluded.stdout == "['open.md']\n"


def test_what_changed_its_kind_since_it_was_listed_has_vanished(
    folder: Path, source: FolderSource
) -> None:
    (folder / "now a folder.md").mkdir()
    (folder / "now a file").write_text("x")
    (folder / "loop").symlink_to("loop")
    for key in ("gone.md", "now a folder.md", "now a file/doc.md", "loop"):
        assert source.fetch(key) is None


def test_a_broken_disk_is_no_missing_file(
    folder: Path, source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.md").write_text("a")

    def broken(_: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", broken)
        with pytest.raises(SourceUnavailable) as refused:
            source.fetch("a.md")
    assert "a.md: reading failed (Input/output error)" in str(refused.value)


def test_an_etag_changes_with_the_file(folder: Path, source: FolderSource) -> None:
    path = folder / "a.md"
    path.write_text("one")
    os.utime(path, (1_780_000_000, 1_780_000_000))
    etags = {listed(source)["a.md"].etag}
    path.write_text("four")
    os.utime(path, (1_780_000_000, 1_780_000_000))
    etags.add(listed(source)["a.md"].etag)
    os.utime(path, ns=(1, 1_780_000_000_000_000_001))
    etags.add(listed(source)["a.md"].etag)
    (folder / "other").write_text("five")
    os.utime(folder / "other", ns=(1, 1_780_000_000_000_000_001))
    (folder / "other").replace(path)
    etags.add(listed(source)["a.md"].etag)
    assert len(etags) == 4


def test_more_than_one_batch(folder: Path, source: FolderSource) -> None:
    for number in range(1_001):
        (folder / f"{number}.md").touch()
    sizes = [len(batch) for batch in source.batches()]
    assert sum(sizes) == 1_001
    assert max(sizes) <= 1_000


def test_a_pattern_that_takes_back_is_looked_for_in_excluded_folders(folder: Path) -> None:
    for key in ("drafts/a.md", "drafts/keep.md", "b.md"):
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_text("x")
    taken = FolderSource(folder.as_uri(), Selection.of(("**",), ("drafts/*", "!keep.md")))
    assert set(listed(taken)) == {"drafts/keep.md", "b.md"}
    whole = FolderSource(folder.as_uri(), Selection.of(("**",), ("drafts/",)))
    assert set(listed(whole)) == {"b.md"}


def test_a_pipe_put_in_a_file_s_place_holds_nobody(folder: Path, source: FolderSource) -> None:
    os.mkfifo(folder / "a.md")
    assert source.fetch("a.md") is None
