"""The verbs that answer questions: one of a person's, or those of models over MCP."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from rag_platform.commands.context import (
    as_json_option,
    open_platform,
    print_json,
    reader_options,
)

if TYPE_CHECKING:
    from rag_platform.mcp_server import Library
    from rag_platform.platform import Platform
    from rag_platform.retrieval.answers import Answer
    from rag_platform.retrieval.readers import Reader, System

TOKEN = "RAG_PLATFORM_MCP_TOKEN"

_REFUSALS = {
    "nothing_found": "nothing was found",
    "weak_retrieval": "what was found is not like the question",
    "not_in_passages": "the passages found do not answer it",
    "no_valid_citation": "nothing that was said stands in the passages found",
}


@click.command()
@click.argument("question")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@reader_options
@as_json_option
def ask(
    question: str,
    filters: tuple[str, ...],
    tenant: str | None,
    groups: tuple[str, ...],
    as_json: bool,
) -> None:
    """Answer QUESTION from the live index, every sentence with a citation that was checked.

    Without a key for a model the best sentences found are the answer.
    """
    from rag_platform.retrieval.queries import parse_filters

    try:
        wanted = parse_filters(filters)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error
    with open_platform() as platform:
        answers = platform.answers(platform.reader(tenant, groups))
        answer = answers.ask(question, filters=wanted)
    if as_json:
        print_json(answer.as_json())
        return
    from rag_platform.commands.output import out

    out().print(*answer_lines(answer), sep="\n")


def answer_lines(answer: "Answer") -> Iterator[str]:
    """The sentences with the numbers of their citations, then these."""
    from rag_platform.llm.completion import EXTRACTIVE
    from rag_platform.operations.terminal import escape

    if answer.refusal:
        yield f"[yellow]No answer:[/] {_REFUSALS[answer.refusal]}."
        return
    for sentence in answer.sentences:
        numbers = "".join(escape(f"[{number}]") for number in sentence.citations)
        yield f"{escape(sentence.text)} [cyan]{numbers}[/]"
    yield ""
    for cited in answer.citations:
        page = f", page {cited.page}" if cited.page else ""
        yield f"[cyan]{escape(f'[{cited.number}]')}[/] [bold]{escape(cited.title)}[/]"
        yield f"    [cyan]{escape(cited.uri)}[/]{page}"
        if cited.heading:
            yield f"    {escape(cited.heading)}"
        yield f"    [dim]{escape(' '.join(cited.quote.split()))}[/]"
    if answer.model == EXTRACTIVE:
        yield "\n[dim]extractive: sentences as found; set OPENAI_API_KEY to have a model answer[/]"
    elif answer.dropped:
        yield f"\n[dim]left out, for want of a citation that holds: {answer.dropped}[/]"


@click.command()
@click.option("--http", is_flag=True, help="Over HTTP, and not over standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65_535))
@reader_options
def mcp(http: bool, host: str, port: int, tenant: str | None, groups: tuple[str, ...]) -> None:
    """Serve search and answers to models, by the Model Context Protocol; read only.

    Clients find what --tenant and --as may see, and cannot change that. Over HTTP at another
    address than this machine's own, RAG_PLATFORM_MCP_TOKEN has to hold a token that clients send.
    """
    from rag_platform.listening import address_of, listen
    from rag_platform.mcp_server import PATH, mcp_server, serve_http, serve_stdio

    token = os.environ.get(TOKEN, "").strip() or None
    with open_platform() as platform:
        server = mcp_server(library(platform, platform.reader(tenant, groups)))
        if not http:
            serve_stdio(server)
            return
        with listen(host, port, variable=TOKEN, token=token) as listener:
            click.echo(f"MCP server at http://{address_of(listener)}{PATH}", err=True)
            serve_http(server, listener, token=token)


def library(platform: "Platform", reader: "Reader | System") -> "Library":
    """What a reader finds in the index that is live at each call, or for some queries in the one
    that challenges it."""
    from rag_platform.mcp_server import Library

    live = platform.live_search(reader)
    return Library(
        search=lambda query, k, filters: live.search(query, k, unit=query, filters=filters).results,
        ask=lambda question, filters: platform.answers(reader).ask(question, filters=filters),
        passage=live.passage,
    )
