"""The command line: one thin file a command. Only this folder prints."""

from orbistem.cli.app import main

__all__ = ["main"]
