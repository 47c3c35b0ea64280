"""OpenAI-compatible HTTP server."""

from polymnia.server.app import create_app
from polymnia.server.http import Limits
from polymnia.server.serve import serve

__all__ = ["Limits", "create_app", "serve"]
