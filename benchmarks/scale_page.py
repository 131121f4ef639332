"""The page of results of scale.py, in Markdown."""

from datetime import UTC, datetime
from typing import Any

from contestant import versions
from ours import PACKAGES
from run import heading, listed_versions

Figures = dict[str, Any]


def page(phases: dict[str, Figures], *, chunks: int, documents: int, first: int) -> str:
    """The results of all phases, in their order; searches are for the `first` best."""
    points = phases["reconcile"]["points"]
    lines = [
        heading(f"{points:,} chunks on the embedded engine"),
        f"`python benchmarks/scale.py --chunks {chunks}`, "
        f"{datetime.now(UTC).date().isoformat()}: {documents:,} made documents of "
        f"{phases['documents']['MB']:,} MB. Where the machine does other work, CPU "
        "seconds tell more than the clock.\n",
        "| phase | seconds | CPU s | peak MB of its own | | ",
        "|---|--:|--:|--:|---|",
    ]
    for name, told in phases.items():
        lines.append(
            f"| {name} | {told['seconds']:,.1f} | {told['cpu_seconds']:,.1f} | "
            f"{told['peak own MB']:,} | {_said(name, told)} |"
        )
    lines += [
        "",
        "Memory of its own is that of the phase's processes together; files that are mapped (the "
        "vectors) come on top where there is room, "
        f"{max(told['mapped MB'] for told in phases.values()):,} MB at most.",
        "",
        "| search, one at a time | open s | dense ms, p50, p95 | keywords | hybrid | found |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in ("search, flat scan", "search, graph"):
        told = phases[name]
        legs = " | ".join(
            f"{told[leg]['p50 ms']:.1f}, {told[leg]['p95 ms']:.1f}"
            for leg in ("dense", "keywords", "hybrid")
        )
        lines.append(f"| {name} | {told['open s']} | {legs} | {told['found']:.1%} |")
    recall = phases["search, graph"][f"recall@{first} of the flat scan"]
    lines += [
        "",
        f"`found`: the document that a sentence was taken from is among the first {first}. Of the "
        f"flat scan's {first} nearest points, or others as near, the graph finds {recall:.2%}.",
        "",
        "| MB on the disk | " + " | ".join(phases["optimize"]["disk MB"]) + " |",
        "|---|" + "--:|" * len(phases["optimize"]["disk MB"]),
    ]
    for name in ("vector_index", "1 % changed", "optimize", "nothing changed again"):
        sizes = " | ".join(f"{size:,}" for size in phases[name]["disk MB"].values())
        lines.append(f"| after {name} | {sizes} |")
    return "\n".join(lines) + "\n\n" + listed_versions({"rag_platform": versions(PACKAGES)})


def _said(name: str, told: Figures) -> str:
    """What a phase came to, in words."""
    said = []
    if "stages" in told:
        outcomes = (f"{count:,} {outcome}" for outcome, count in told["outcomes"].items())
        slowest = sorted(told["stages"].items(), key=lambda item: -item[1]["seconds"])[:3]
        said = [*outcomes, f"{told['embedded']:,} chunks embedded"]
        said += [f"{stage} {figures['seconds']:.1f} s" for stage, figures in slowest]
    elif name == "reconcile":
        said = [
            f"nothing drifted: {told['nothing drifted']['seconds']:.1f} s, {told['read']:,} read",
            f"{told['lost of documents']} documents lost a point: all found in "
            f"{told['found']['seconds']:.1f} s",
        ]
    elif name == "repair":
        said = [f"{told['repaired']} repaired in {told['repair']['seconds']:.1f} s, none embedded"]
    else:
        counted = ("documents", "chunks", "embedded_chunks", "memo_hits", "points")
        said = [f"{told[key]:,} {key.replace('_', ' ')}" for key in counted if key in told]
    return "; ".join([*said, *(["begun twice"] if told["interrupted"] else [])])
