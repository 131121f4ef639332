"""The demo corpus replays to the tree its generator wrote, and nowhere else."""

import hashlib
import html
import json
from datetime import date, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from rag_platform import demo

DAY = date(2026, 7, 1)
LAST_DAY = date(2026, 7, 14)


def tree_of(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def committed_sums() -> dict[str, str]:
    lines = (demo.CORPUS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def replay(target: Path, *, until: date = LAST_DAY) -> None:
    for day in demo.days():
        if day <= until:
            demo.apply_day(demo.CORPUS, day, target)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of one day with one page, whose manifest a test may rewrite."""
    files = tmp_path / "corpus" / DAY.isoformat() / "files"
    files.mkdir(parents=True)
    (files / "page.md").write_text("text", encoding="utf-8")
    write_manifest(tmp_path / "corpus", added=["page.md"])
    return tmp_path / "corpus"


def write_manifest(corpus: Path, **changes: object) -> None:
    manifest = {"commit": "0", "note": "", **changes}
    (corpus / DAY.isoformat() / "changes.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_all_days_give_the_committed_tree(tmp_path: Path) -> None:
    replay(tmp_path / "docs")
    assert tree_of(tmp_path / "docs") == committed_sums()
    assert len(committed_sums()) == 208
    assert [p.name for p in tmp_path.iterdir()] == ["docs"]


def test_days_are_the_base_and_two_weeks() -> None:
    assert demo.days() == [date(2026, 6, 30), *(date(2026, 7, day) for day in range(1, 15))]


def test_every_day_after_the_base_changes_something() -> None:
    changes = [demo.read_day(demo.CORPUS, day) for day in demo.days()[1:]]
    assert all(c.added or c.modified or c.deleted or c.renamed for c in changes)
    assert sum(len(c.renamed) for c in changes) == 6
    assert sum(len(c.deleted) for c in changes) == 2


def test_each_day_does_what_it_lists(tmp_path: Path) -> None:
    target = tmp_path / "docs"
    before: dict[str, str] = {}
    for day in demo.days():
        changes = demo.apply_day(demo.CORPUS, day, target)
        after = tree_of(target)
        came, gone = set(after) - set(before), set(before) - set(after)
        assert came == {*changes.added, *changes.renamed.values()}
        assert gone == {*changes.deleted, *changes.renamed}
        assert {p for p in before if p in after and before[p] != after[p]} == set(changes.modified)
        assert all(before[old] == after[new] for old, new in changes.renamed.items())
        before = after


def test_a_day_applied_again_rewrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "docs"
    for day in demo.days():
        demo.apply_day(demo.CORPUS, day, target)
        once = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in target.rglob("*")}
        demo.apply_day(demo.CORPUS, day, target)
        assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in target.rglob("*")} == once


def test_a_day_cut_short_is_completed(tmp_path: Path) -> None:
    target = tmp_path / "docs"
    replay(target, until=date(2026, 7, 11))
    old = target / "en/docs/demo/requirements/_index.md"
    new = target / "en/docs/demo/architecture-requirements/_index.md"
    new.parent.mkdir()
    old.rename(new)
    (tmp_path / ".docs.part").write_bytes(b"half a fi")
    replay(target)
    assert tree_of(target) == committed_sums()


def test_a_file_carries_its_day_and_no_folder_stays_empty(tmp_path: Path) -> None:
    target = tmp_path / "docs"
    replay(target)
    page = target / "en/docs/concepts/glossary.md"
    assert page.stat().st_mtime == 1782993600  # 2026-07-02T12:00:00Z
    assert not (target / "en/docs/demo/requirements").exists()
    assert not (target / "en/docs/demo/screenshots").exists()


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../page.md", "a/../../page.md", "a//b", "./a", "", "C:a", "a\\b", "a\0"],
)
@pytest.mark.parametrize("kind", ["added", "modified", "deleted", "renamed from", "renamed to"])
def test_a_hostile_path_is_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path, *, path: str, kind: str
) -> None:
    if kind == "renamed from":
        write_manifest(corpus, renamed={path: "page.md"})
    elif kind == "renamed to":
        write_manifest(corpus, renamed={"page.md": path})
    else:
        write_manifest(corpus, **{kind: [path]})
    with pytest.raises(demo.DemoCorpusInvalid, match=r"changes\.json: .*not a plain path"):
        demo.apply_day(corpus, DAY, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_the_one_page_corpus_is_valid(corpus: Path, tmp_path: Path) -> None:
    assert demo.apply_day(corpus, DAY, tmp_path / "docs").added == ("page.md",)
    assert (tmp_path / "docs" / "page.md").read_text(encoding="utf-8") == "text"


def test_a_missing_corpus_or_day_says_what_to_do(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(demo.DemoCorpusInvalid, match="Run the demo from a full checkout"):
        demo.days(tmp_path / "nowhere")
    with pytest.raises(demo.DemoCorpusInvalid, match="no such day"):
        demo.apply_day(corpus, LAST_DAY, tmp_path / "docs")


def pdf_pages(file: Path) -> list[str]:
    import pypdfium2

    return [page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(file)]


def words_of(file: Path, *, page: int | None) -> str:
    """The text of a document, read without the platform's own parsers, in single spaces."""
    if file.suffix == ".pdf":
        assert page is not None
        text = pdf_pages(file)[page - 1]
    elif file.suffix == ".docx":
        text = html.unescape(ZipFile(file).read("word/document.xml").decode())
    else:
        text = file.read_text(encoding="utf-8")
    return " ".join(text.split())


def test_the_two_dead_letters_are_what_they_say(tmp_path: Path) -> None:
    import pypdfium2

    replay(tmp_path / "docs")
    manuals = tmp_path / "docs" / "manuals"
    with pytest.raises(pypdfium2.PdfiumError):
        pdf_pages(manuals / "obi-security.pdf")
    assert len(pdf_pages(manuals / "java-handbook.pdf")) == 69
    assert len(pdf_pages(manuals / "dotnet-configuration.pdf")) == 10


def test_every_question_is_answered_from_its_day_on_and_not_before(tmp_path: Path) -> None:
    text = (demo.CORPUS.parent / "questions.yaml").read_text(encoding="utf-8")
    questions = yaml.safe_load(text)["questions"]
    assert len(questions) == 6
    replay(tmp_path / "last")
    for number, question in enumerate(questions):
        for key in question["documents"]:
            assert question["quote"] in words_of(tmp_path / "last" / key, page=question.get("page"))
        if question["since"] > demo.days()[0]:
            before = tmp_path / str(number)
            replay(before, until=question["since"] - timedelta(days=1))
            files = [before / key for key in question["documents"] if (before / key).is_file()]
            pages = [
                range(1, len(pdf_pages(f)) + 1) if f.suffix == ".pdf" else [None] for f in files
            ]
            found = [words_of(f, page=p) for f, ps in zip(files, pages, strict=True) for p in ps]
            assert not any(question["quote"] in words for words in found)
