"""What a large source costs when nothing in it has changed: rag_platform without Dagster.

    python benchmarks/many_documents.py [--documents 100000]

Makes that many small documents of their own words, builds the index, and syncs again twice: with
nothing changed, and with one document edited. Prints a Markdown table.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from run import HERE, measure

PHASES = (("cold", "cold"), ("nothing changed", "unchanged"), ("one document edited", "day"))


def write_documents(folder: Path, count: int) -> None:
    """Documents of some 60 words, a thousand to a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(f"word{number * 7 % 9973 + place}" for place in range(50))
        path.write_text(f"# Document {number}\n\nThe words of {number} are {words}.\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    count = parser.parse_args().documents
    print("| documents | | seconds | ms a document | CPU s | embedded | peak MB |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    command = [sys.executable, str(HERE / "ours.py"), "--via", "direct"]
    with tempfile.TemporaryDirectory(prefix="many-") as scratch:
        folder, state = Path(scratch).resolve() / "corpus", Path(scratch).resolve() / "state"
        write_documents(folder, count)
        for title, phase in PHASES:
            if phase == "day":
                (folder / "0000" / "0000000.md").write_text("# Other\n\nOther words.\n")
            told = measure(command, folder, state, phase)
            print(
                f"| {count:,} | {title} | {told['seconds']:.1f} | "
                f"{told['seconds'] / count * 1000:.3f} | {told['cpu_seconds']:.1f} | "
                f"{told['embedded_texts']:,} | {told['peak_rss_mb']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
