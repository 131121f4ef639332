"""Questions about financial reports: TAT-QA, FinanceBench with its PDFs, or plain columns.

Plain columns are `question` and `context` (a text, or a list of paragraphs); with labels also
`answer` (a text, a number or a list; empty where the context has no answer), or `target` as this
reader gives it. `unit`, `group`, `scale`, `type`, `source` and `cites` may stand beside them.

An advisor must refuse where its text has no answer, so there must be such questions. Where the data
has none, a share of the questions is asked once more, of another document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.filings import Filings
from rag_platform.training.readers.finance_forms import Asked, Unusable, form_of
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.splits import point
from rag_platform.training.tables import is_table, read_records
from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.answering import CONTEXT, QUESTION
from rag_platform.training.tasks.answers import UNANSWERABLE, words

if TYPE_CHECKING:
    import pandas as pd

# The share of questions that are also asked of a document without the answer: of those nearest by
# hash the first that lacks so much of what the question is about.
ELSEWHERE_SHARE = 0.2
LACKED_SHARE = 0.5
_TRIED = 20


class FinanceQuestions(Reader):
    """Reads questions with their contexts. `elsewhere` is the share asked of another document."""

    def __init__(self, *, elsewhere: float = ELSEWHERE_SHARE) -> None:
        self._elsewhere = elsewhere

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """Rows with `question` and `context`; the index counts questions, in the files' order.

        Raises `UnusableData` when no file has questions in a form that is known.
        """
        bad: list[BadRow] = []
        asked: list[tuple[int, Asked]] = []
        has_form = False
        with Filings(files) as filings:
            for file in filter(is_table, files):
                for number, found in _questions(file, filings, labelled=labelled):
                    has_form = has_form or found is not None
                    if isinstance(found, Asked):
                        asked.append((number, found))
                    elif found is not None:
                        bad.append(BadRow(file.name, number, found.reason, found.detail))
        if not has_form:
            raise UnusableData(_unknown(files))
        if labelled:
            elsewhere = self._asked_elsewhere([each for _, each in asked])
            first = 1 + max((number for number, _ in asked), default=0)
            asked += enumerate(elsewhere, start=first)
        return Rows(_frame(asked, labelled=labelled), bad, len(asked) + len(bad))

    def _asked_elsewhere(self, asked: Sequence[Asked]) -> list[Asked]:
        """Questions put to documents that do not answer them; none where the data has some.

        Which ones, and of which document, depends on hashes of both alone.
        """
        if any(each.target and not each.target.answerable for each in asked):
            return []
        documents = {each.group: each for each in asked}
        held = {group: set(words(each.context).split()) for group, each in documents.items()}

        def partner(each: Asked) -> Asked | None:
            others = sorted(
                documents.keys() - {each.group},
                key=lambda group: point(f"{each.unit}\0{group}", "elsewhere"),
            )
            return next(
                (
                    documents[group]
                    for group in others[:_TRIED]
                    if len(each.about - held[group]) >= LACKED_SHARE * len(each.about) > 0
                ),
                None,
            )

        chosen = [each for each in asked if point(each.unit, "elsewhere") < self._elsewhere]
        return [
            replace(
                other, unit=f"{each.unit}#elsewhere", question=each.question, target=UNANSWERABLE
            )
            for each in chosen
            if (other := partner(each)) is not None
        ]


def _questions(
    file: DataFile, filings: Filings, *, labelled: bool
) -> Iterator[tuple[int, Asked | Unusable | None]]:
    """The questions of a file, each with its number; None for a record of some other form."""
    last = 0
    for number, record in read_records(file):
        if isinstance(record, BadRow):
            last = max(number, last + 1)
            yield last, Unusable(record.reason, record.detail)
            continue
        record = {name.casefold(): value for name, value in record.items()}
        form = form_of(record)
        if form is None:
            yield number, None
            continue
        for found in form(record, filings, labelled):
            # A record of TAT-QA has several questions.
            last = max(number, last + 1)
            yield last, found


def _unknown(files: Sequence[DataFile]) -> str:
    names = ", ".join(repr(file.name[:80]) for file in files[:5]) or "no file"
    return (
        f"{names}: no questions in a form that is known. Needed are columns question and context "
        "(and answer, to train on), TAT-QA's table, paragraphs and questions, or FinanceBench's "
        "question, doc_name and evidence with the PDFs beside them."
    )


def _frame(asked: Sequence[tuple[int, Asked]], *, labelled: bool) -> "pd.DataFrame":
    import pandas as pd

    columns = {
        UNIT: [each.unit for _, each in asked],
        GROUP: [each.group for _, each in asked],
        QUESTION: [each.question for _, each in asked],
        CONTEXT: [each.context for _, each in asked],
    }
    if labelled:
        columns[TARGET] = [each.target.text() if each.target else "" for _, each in asked]
    return pd.DataFrame(columns, index=[number for number, _ in asked], dtype=object)
