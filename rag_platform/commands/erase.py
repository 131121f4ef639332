"""The verbs that erase documents for good, and show the receipts."""

from typing import TYPE_CHECKING

import click

from rag_platform.actions import Actions
from rag_platform.commands.context import (
    as_json_option,
    by_option,
    fail,
    open_platform,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from rag_platform.erasure.receipts import Erasure


@click.command()
@click.argument("source")
@click.argument("keys", nargs=-1, metavar="KEY...")
@click.option("--gone", is_flag=True, help="All documents that are gone from SOURCE.")
@click.option("--reason", metavar="TEXT", help="Why; stays on record. Needed for new requests.")
@by_option
@click.option("--redact-key", "redact", is_flag=True, help="Keep a digest of the address only.")
@as_json_option
def erase(
    source: str,
    keys: tuple[str, ...],
    gone: bool,
    reason: str | None,
    by: str,
    redact: bool,
    as_json: bool,
) -> None:
    """Erase documents of SOURCE from everything that the platform keeps, and prove it.

    They must be gone from the source, or excluded in its settings; what was moved is erased at its
    earlier addresses, too. What an interrupted erasure left is finished first; without KEY nothing
    else is done. The JSON is a list of receipts: id, source, key, doc_id, requested_at,
    requested_by, reason, checked_at, places (place, found, left), remarks, sha256, intact.
    """
    if (keys or gone) and not reason:
        raise click.UsageError("say why, with --reason: it stays on record")
    if keys and gone:
        raise click.UsageError("give either KEY... or --gone")
    with open_platform() as platform:
        from rag_platform.platform_erasure import eraser

        erasing = eraser(platform, source)
        wanted = erasing.gone() if gone else list(keys)
        if wanted:
            Actions(platform, by, "cli").request_erasure(
                source, wanted, reason=str(reason), redact=redact
            )
        done = erasing.run()
    if as_json:
        print_json([one.as_json() for one in done])
        return
    for one in done:
        written = one.receipt or {}
        removed = sum(place["found"] for place in written["places"])
        click.echo(
            f"{written['key']}: {removed:,} rows, points and entries removed, nothing found in "
            f"{len(written['places'])} places; receipt {one.id}, sha256 {written['sha256']}"
        )
    if not done:
        click.echo(f"{source}: nothing to erase.")


@click.command()
@click.argument("source", required=False)
@as_json_option
def receipts(source: str | None, as_json: bool) -> None:
    """What was erased, of SOURCE or all. Exits 1 where a receipt is not as it was written.

    The JSON is as of `erase`; checked_at is null for what is not finished.
    """
    with open_platform() as platform:
        from rag_platform.erasure.receipts import receipts as receipts_of

        found = receipts_of(platform.catalog, source)
    if as_json:
        print_json([one.as_json() for one in found])
    else:
        from rag_platform.commands.output import out

        out().print(receipt_table(found) if found else "Nothing was erased.")
    fail(
        [
            f"receipt {one.id}: is not as it was written"
            for one in found
            if one.receipt is not None and not one.is_intact
        ]
    )


def receipt_table(found: "Sequence[Erasure]") -> "Table":
    """A line for each request."""
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("receipt", "source", "document", "asked by", "reason", "removed", "checked (UTC)"):
        table.add_column(name, justify="right" if name == "removed" else "left", overflow="fold")
    for one in found:
        shown = one.as_json()
        removed = sum(place["found"] for place in shown.get("places", []))
        table.add_row(
            str(one.id),
            escape(one.source),
            escape(shown.get("key", one.doc_id)),
            escape(one.requested_by),
            escape(one.reason),
            f"{removed:,}" if one.receipt else "",
            str(shown["checked_at"] or "not finished"),
        )
    return table
