"""The verb that prepares the databases for this version."""

import click

from rag_platform.commands.context import as_json_option, open_platform, print_json


@click.command()
@as_json_option
def migrate(as_json: bool) -> None:
    """Bring the catalog and Dagster's databases to the schema of this version.

    Once, before the processes of a new place or a new version start, so that none of them meets
    another that does the same. Ticks that a fast clock put into the future are brought to now.
    Where there is nothing to do, nothing is done. The JSON has catalog (its revision).
    """
    with open_platform() as platform:
        from rag_platform.defs.operations.launch import instance
        from rag_platform.storage.catalog import SCHEMA_REVISION

        where = platform.catalog.display  # opened here, and brought to this version by that
        with instance(platform.settings) as dagster:
            dagster.upgrade()
    if as_json:
        print_json({"catalog": SCHEMA_REVISION})
        return
    click.echo(f"{where}: schema {SCHEMA_REVISION}; Dagster's databases are of its version.")
