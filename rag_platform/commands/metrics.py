"""The verb that lets Prometheus see the platform."""

import os
from functools import partial

import click

from rag_platform.commands.context import open_platform

TOKEN = "RAG_PLATFORM_METRICS_TOKEN"
PORT = 9464


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65_535))
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Serve other machines without a token, where the network decides who gets here.",
)
@click.option("--once", is_flag=True, help="Print the metrics and end: for a file or a gateway.")
def metrics(host: str, port: int, is_open: bool, once: bool) -> None:
    """Serve metrics of the whole platform to Prometheus, at /metrics; read only.

    At another address than this machine's own, RAG_PLATFORM_METRICS_TOKEN has to hold a token,
    which Prometheus sends as its `authorization`; or --open says that none is wanted. /healthz
    and /readyz need no token.
    """
    with open_platform() as platform:
        from rag_platform.commands.collectors import exporter, is_ready
        from rag_platform.operations.metrics.exporter import text

        if once:
            # Nobody waits for it: every collector has the time that it takes.
            content, _ = text(exporter(platform, scrape_s=120.0).scrape())
            click.echo(content.decode(), nl=False)
            return
        from rag_platform.listening import address_of, is_loopback, listen
        from rag_platform.operations.metrics.server import PATH, application, serve

        token = os.environ.get(TOKEN, "").strip() or None
        with listen(host, port, variable=TOKEN, token=token, guarded=is_open) as listener:
            everything = exporter(platform)
            everything.begin()
            app = application(
                everything,
                partial(is_ready, platform),
                token=token,
                loopback=is_loopback(host),
            )
            click.echo(f"Metrics at http://{address_of(listener)}{PATH}", err=True)
            serve(app, listener)
