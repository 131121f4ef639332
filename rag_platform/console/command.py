"""`rag-platform console`: the console in the browser."""

import os

import click

from rag_platform.commands.context import open_platform

TOKEN = "RAG_PLATFORM_CONSOLE_TOKEN"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8766, show_default=True, type=click.IntRange(0, 65_535))
@click.option("--tenant", metavar="NAME", help="Whose documents; needed with several.")
def console(host: str, port: int, tenant: str | None) -> None:
    """Serve the console: search, documents, reviews, indexes, models, costs and dead letters.

    On this machine it is open to who reaches it. At another address it asks for the token in
    RAG_PLATFORM_CONSOLE_TOKEN, or believes `console.user_header` of a reverse proxy.
    """
    from rag_platform.listening import address_of, listen

    # Away from the environment: no child of this process is to have it.
    token = os.environ.pop(TOKEN, "").strip() or None
    with open_platform() as platform:
        settings = platform.settings.console
        reader = platform.reader(tenant, settings.search_as)
        guarded = settings.user_header is not None
        with listen(host, port, variable=TOKEN, token=token, guarded=guarded) as listener:
            from rag_platform.console.serving import serve

            click.echo(f"Console at http://{address_of(listener)}", err=True)
            serve(platform, reader, listener, token=token)
