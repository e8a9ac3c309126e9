"""The command line, one file a command."""

from services.cli.commands import app, main

__all__ = ["app", "main"]
