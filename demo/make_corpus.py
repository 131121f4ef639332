"""Builds demo/corpus from an unpacked copy of the upstream website.

    python demo/make_corpus.py --base DIR --deltas DIR

DIR of --base holds the tree of 2026-06-30 (`content/en/docs/...`). DIR of --deltas holds one
folder for each day after it, with `manifest.json` (`commit`; `changes`: `status` A or M, `path`)
and `files/<path>`, the new content. Both follow from a clone of
github.com/open-telemetry/opentelemetry.io: the last commit of each day (UTC), `content/**/*.md`.

What is not an upstream edit is staged, by the table STAGED below. Development only: needs
python-docx and reportlab (built with 1.2.0 and 5.1.0). The same input gives the same bytes.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from render import Block, Page, read_page, to_docx, to_html, to_pdf

CORPUS = Path(__file__).parent / "corpus"
BASE_DAY = "2026-06-30"
BASE_COMMIT = "94498a7529f6"
MOVED_PAGES = "en/docs/demo/requirements/"

# Pages by their path below content/. `*` also matches a slash.
SELECTED = (
    "en/blog/2026/dart-flutter-opentelemetry.md",
    "en/blog/2026/spring-boot-declarative-config/*",
    "en/docs/collector/*.md",
    "en/docs/concepts/*",
    "en/docs/contributing/pr-checks.md",
    "en/docs/contributing/sig-practices.md",
    "en/docs/demo/*",
    "en/docs/getting-started/*",
    "en/docs/guidance/*",
    "en/docs/languages/java/_index.md",
    "en/docs/languages/js/context.md",
    "en/docs/languages/ruby/*",
    "en/docs/languages/rust/*",
    "en/docs/languages/sdk-configuration/*",
    "en/docs/platforms/client-apps/*",
    "en/docs/security/*",
    "en/docs/zero-code/go/*",
    "en/docs/zero-code/java/_index.md",
    "en/docs/zero-code/java/spring-boot-starter/*",
    "en/docs/zero-code/obi/_index.md",
    "en/docs/zero-code/obi/context-propagation.md",
    "en/docs/zero-code/obi/distributed-traces.md",
    "en/docs/zero-code/obi/setup/*",
    "en/docs/zero-code/python/_index.md",
    "es/docs/concepts/signals/metrics.md",
    "es/docs/demo/docker-deployment.md",
    "es/docs/demo/services/_index.md",
    "es/docs/demo/telemetry-features/_index.md",
    "es/docs/guidance/reference-implementations/*",
    "ja/docs/collector/_index.md",
    "ja/docs/languages/ruby/instrumentation.md",
    "ja/docs/zero-code/python/_index.md",
    "pt/docs/concepts/signals/metrics.md",
    "pt/docs/languages/js/context.md",
    "pt/docs/platforms/*",
    "ro/docs/contributing/sig-practices.md",
)
EXCLUDED = (
    "en/docs/collector/extend/custom-component/receiver.md",
    "en/docs/collector/extend/ocb/*",
)

Tree = dict[str, bytes]


@dataclass
class State:
    """`upstream` is the whole website on a day, `tree` the demo's source folder."""

    upstream: Tree
    tree: Tree = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)


Step = Callable[[State], None]


def html_page(key: str, page: str, *, build: str) -> Step:
    def step(state: State) -> None:
        state.tree[key] = to_html(read_page(state.upstream[page].decode()), key, build=build)

    return step


def docx_page(key: str, page: str) -> Step:
    def step(state: State) -> None:
        state.tree[key] = to_docx(read_page(state.upstream[page].decode()))

    return step


def pdf_page(key: str, page: str) -> Step:
    def step(state: State) -> None:
        state.tree[key] = to_pdf(read_page(state.upstream[page].decode()))

    return step


def pdf_book(key: str, title: str, *, folder: str) -> Step:
    """All pages right below an upstream folder, one after the other, as one PDF."""

    def step(state: State) -> None:
        paths = sorted(
            p for p in state.upstream if p.startswith(folder) and "/" not in p[len(folder) :]
        )
        blocks: list[Block] = []
        for path in paths:
            page = read_page(state.upstream[path].decode())
            blocks += [Block("heading", page.title, 1), *page.blocks]
        state.tree[key] = to_pdf(Page(title, "", tuple(blocks)))

    return step


def truncated_pdf(key: str, page: str) -> Step:
    """The first half of a PDF, as an upload leaves it that was cut off."""

    def step(state: State) -> None:
        whole = to_pdf(read_page(state.upstream[page].decode()))
        state.tree[key] = whole[: len(whole) // 2]

    return step


def moved(old: str, new: str) -> Step:
    """Moves a page, or a folder when `old` ends in a slash; the bytes stay."""

    def step(state: State) -> None:
        for path in sorted(
            p for p in state.tree if p == old or (old[-1] == "/" and p.startswith(old))
        ):
            state.renamed[path] = new + path[len(old) :]
            state.tree[state.renamed[path]] = state.tree.pop(path)

    return step


def removed(*paths: str) -> Step:
    def step(state: State) -> None:
        for path in paths:
            del state.tree[path]

    return step


def copied(old: str, new: str) -> Step:
    def step(state: State) -> None:
        state.tree[new] = state.tree[old]

    return step


KUBERNETES = "en/docs/platforms/kubernetes/getting-started.md"
DOTNET = "en/docs/zero-code/dotnet/configuration.md"
STAGED: dict[str, tuple[str, tuple[Step, ...]]] = {
    BASE_DAY: (
        "base, with two HTML pages and a DOCX made from other pages",
        (
            html_page("web/kubernetes-getting-started.html", KUBERNETES, build="4182"),
            html_page(
                "web/lambda-auto-instrumentation.html",
                "en/docs/platforms/faas/lambda-auto-instrument.md",
                build="4182",
            ),
            docx_page(
                "office/python-instrumentation.docx", "en/docs/languages/python/instrumentation.md"
            ),
        ),
    ),
    "2026-07-02": (
        "a PDF manual of many pages arrives",
        (pdf_page("manuals/dotnet-configuration.pdf", DOTNET),),
    ),
    "2026-07-04": (
        "a second DOCX arrives",
        (docx_page("office/python-exporters.docx", "en/docs/languages/python/exporters.md"),),
    ),
    "2026-07-05": (
        "a second PDF arrives",
        (pdf_page("manuals/obi-troubleshooting.pdf", "en/docs/zero-code/obi/troubleshooting.md"),),
    ),
    "2026-07-06": (
        "a page moves to another folder, unchanged",
        (moved("en/docs/getting-started/ops.md", "en/docs/concepts/getting-started-for-ops.md"),),
    ),
    "2026-07-07": (
        "two documents that cannot be indexed: a truncated PDF, and one above 50 pages",
        (
            truncated_pdf("manuals/obi-security.pdf", "en/docs/zero-code/obi/security.md"),
            pdf_book(
                "manuals/java-handbook.pdf",
                "OpenTelemetry for Java: handbook",
                folder="en/docs/languages/java/",
            ),
        ),
    ),
    "2026-07-08": (
        "a third PDF and a third HTML page arrive",
        (
            pdf_page("manuals/obi-metrics.pdf", "en/docs/zero-code/obi/metrics.md"),
            html_page(
                "web/migration-from-opentracing.html",
                "en/docs/compatibility/migration/opentracing.md",
                build="4190",
            ),
        ),
    ),
    "2026-07-09": (
        "the PDF manual of 2026-07-02 is rebuilt after that day's real edit of its page",
        (pdf_page("manuals/dotnet-configuration.pdf", DOTNET),),
    ),
    "2026-07-10": (
        "an exact copy of a page appears in another folder",
        (copied("en/docs/concepts/sampling/index.md", "en/docs/guidance/sampling.md"),),
    ),
    "2026-07-11": (
        "two pages are removed",
        (
            removed(
                "en/docs/demo/screenshots/index.md",
                "en/docs/demo/collector-data-flow-dashboard/index.md",
            ),
        ),
    ),
    "2026-07-12": (
        "a folder of five pages moves, unchanged",
        (moved(MOVED_PAGES, "en/docs/demo/architecture-requirements/"),),
    ),
    "2026-07-13": (
        "an HTML page is rebuilt: new footer, same article",
        (html_page("web/kubernetes-getting-started.html", KUBERNETES, build="4203"),),
    ),
}


def is_selected(path: str) -> bool:
    return any(fnmatchcase(path, p) for p in SELECTED) and not any(
        fnmatchcase(path, p) for p in EXCLUDED
    )


def read_pages(root: Path) -> Tree:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.md"))}


def write_day(day: str, before: Tree, state: State, *, commit: str, note: str) -> str:
    """Writes one day's folder and returns its row of the README's table."""
    gone_by_move, came_by_move = set(state.renamed), set(state.renamed.values())
    changes = {
        "commit": commit,
        "note": note,
        "added": sorted(state.tree.keys() - before.keys() - came_by_move),
        "modified": sorted(p for p in state.tree if p in before and state.tree[p] != before[p]),
        "deleted": sorted(before.keys() - state.tree.keys() - gone_by_move),
        "renamed": dict(sorted(state.renamed.items())),
    }
    folder = CORPUS / day
    for path in [*changes["added"], *changes["modified"]]:
        file = folder / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(state.tree[path])
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(changes, indent=1, ensure_ascii=False) + "\n"
    (folder / "changes.json").write_text(text, encoding="utf-8")
    counts = [len(changes[k]) for k in ("added", "modified", "renamed", "deleted")]
    return f"| {day} | {' | '.join(map(str, counts))} | {len(state.tree)} | {note} |"


def build(base: Path, deltas: Path) -> list[str]:
    """Writes the corpus anew; returns the rows of the README's table."""
    if CORPUS.exists():
        shutil.rmtree(CORPUS)
    upstream = read_pages(base / "content")
    state = State(upstream, {p: data for p, data in upstream.items() if is_selected(p)})
    rows: list[str] = []
    for day in [BASE_DAY, *sorted(d.name for d in deltas.iterdir())]:
        before = {} if day == BASE_DAY else dict(state.tree)
        state.renamed.clear()
        commit = BASE_COMMIT
        if day != BASE_DAY:
            commit = apply_upstream(state, deltas / day)
        note, steps = STAGED.get(day, ("", ()))
        for step in steps:
            step(state)
        rows.append(write_day(day, before, state, commit=commit, note=note))
    sums = [f"{hashlib.sha256(data).hexdigest()}  {p}\n" for p, data in sorted(state.tree.items())]
    (CORPUS / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return rows


def apply_upstream(state: State, delta: Path) -> str:
    """Applies a day's upstream edits; returns its commit."""
    manifest = json.loads((delta / "manifest.json").read_text(encoding="utf-8"))
    for change in manifest["changes"]:
        if change["status"] not in ("A", "M"):
            raise SystemExit(f"{delta}: status {change['status']} of {change['path']} is not known")
        path = change["path"].removeprefix("content/")
        data = (delta / "files" / change["path"]).read_bytes()
        state.upstream[path] = data
        if is_selected(path):
            if change["status"] == "M" and path not in state.tree:
                raise SystemExit(f"{delta}: {path} is edited after it was staged away")
            state.tree[path] = data
    return manifest["commit"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--deltas", type=Path, required=True)
    args = parser.parse_args()
    print("| day | added | modified | renamed | deleted | files | staged |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    print("\n".join(build(args.base, args.deltas)))
