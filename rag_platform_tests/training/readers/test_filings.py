"""FinanceBench: questions about PDF files, and what is told where those cannot be read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rag_platform.training.readers.filings import Filings, NoPages
from rag_platform.training.readers.finance_qa import FinanceQuestions
from rag_platform.training.rows import DataFile, Rows
from rag_platform.training.tasks.answers import parts, target_of

ROW = "Operating expenses {number} $ 16,388 $ 14,573"


def pdf(pages: list[list[str]]) -> bytes:
    """A PDF with these lines on its pages, in the plainest form that the format has."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, lines in enumerate(pages):
        escaped = [line.replace("(", r"\(").replace(")", r"\)") for line in lines]
        shown = "".join(f"({line}) Tj 0 -14 Td " for line in escaped)
        stream = f"BT /F1 6 Tf 20 750 Td {shown}ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body = "".join(f"{n} 0 obj\n{text}\nendobj\n" for n, text in enumerate(objects, start=1))
    return f"%PDF-1.4\n{body}trailer << /Root 1 0 R /Size {len(objects) + 1} >>\n%%EOF".encode()


def question(doc: str = "ACME_2022_10K", page: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "financebench_id": f"id-{doc}-{page}",
        "doc_name": doc,
        "question": "What is Acme's income (in USD millions)?",
        "answer": "$11588.00",
        "evidence": [{"evidence_page_num": page, "evidence_text": "..."}],
        **more,
    }


def read(folder: Path, *questions: dict[str, Any]) -> Rows:
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (folder / "documents.jsonl").write_text('{"doc_name": "ACME_2022_10K", "doc_type": "10k"}\n')
    found = [
        DataFile(str(path.relative_to(folder)), path, 0.0)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return FinanceQuestions(elsewhere=0).read(found, labelled=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pdfs").mkdir()
    pages = [[f"Page {n} speaks.", ROW.format(number=n)] for n in range(1, 6)]
    (tmp_path / "pdfs" / "ACME_2022_10K.pdf").write_bytes(pdf(pages))
    return tmp_path


def test_the_page_of_the_evidence_and_those_beside_it(folder: Path) -> None:
    rows = read(folder, question(page=1))
    assert rows.bad == []
    (row,) = rows.frame.to_dict("records")
    found = parts(row["context"])
    assert list(found) == ["p1.1", "p1.2", "p2.1", "p2.2", "p3.1", "p3.2"]
    assert found["p2.2"] == ROW.format(number=2)
    assert (row["unit"], row["group"]) == ("id-ACME_2022_10K-1", "ACME_2022_10K")
    target = target_of(row["target"])
    assert (target.answers, target.scale, target.cites) == (["$11588.00"], "million", ["p2"])


def test_an_answer_in_words_is_told_apart(folder: Path) -> None:
    rows = read(folder, question(answer="Yes, by 5%."), question(page=3, answer="30.8%"))
    found = [target_of(text) for text in rows.frame["target"]]
    kinds = [(target.type, target.scale) for target in found]
    assert kinds == [("free", ""), ("arithmetic", "million")]


def test_what_cannot_be_read_is_told_by_question(folder: Path) -> None:
    (folder / "pdfs" / "BROKEN.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    rows = read(
        folder,
        question(),
        question("BROKEN"),
        question("../../etc/passwd"),
        question(page=40),
        question(evidence="?"),
    )
    assert len(rows.frame) == 1
    assert [bad.reason for bad in rows.bad] == ["pdf_corrupt", "no_pdf", "no_page", "odd_question"]


def test_wrapped_lines_are_one_part_and_rows_are_not(tmp_path: Path) -> None:
    line = "our results depend on what our customers buy from us and when they choose to buy it and"
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf([[line, "on what it costs.", "Cash 7 8", "Debt 9 10"]]))
    with Filings([DataFile("x/a.pdf", path, 0.0)]) as filings:
        assert filings.text("a", [0], most=10_000) == [
            ("p1.1", f"{line} on what it costs."),
            ("p1.2", "Cash 7 8"),
            ("p1.3", "Debt 9 10"),
        ]


def test_neighbours_give_way_where_there_is_no_room(folder: Path) -> None:
    path = folder / "pdfs" / "ACME_2022_10K.pdf"
    shutil.copy(path, folder / "b.PDF")
    with Filings([DataFile("b.PDF", folder / "b.PDF", 0.0)]) as filings:
        assert [name for name, _ in filings.text("b", [2], most=1)] == ["p3.1", "p3.2"]
        near = filings.text("b", [0, 4], most=250)
        assert [name for name, _ in near] == ["p1.1", "p1.2", "p2.1", "p2.2", "p5.1", "p5.2"]
        with pytest.raises(NoPages, match="5 pages"):
            filings.text("b", [9], most=1_000)
