"""`polymnia serve`: the HTTP API."""

import logging
from typing import Annotated

import typer

from polymnia.cli.options import Debug, ModelName, opened


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    model: ModelName = "nano",
    debug: Debug = False,
) -> int:
    """Serve a model and its agents to any OpenAI client."""
    from polymnia.server.serve import serve as serve_model

    if not debug:
        logging.basicConfig(level=logging.WARNING)  # of a server, warnings are wanted
    serve_model(host, port, opened(model))
    return 0
