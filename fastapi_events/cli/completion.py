"""Shell completion, which shtab makes out of our parsers."""

from __future__ import annotations

import argparse

from fastapi_events.errors import MissingDependencyError

try:
    import shtab
except ImportError as _missing:
    raise MissingDependencyError("shtab", "completion") from _missing


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What a shell has to read to complete our commands.

    Parameters:
        shell: `"bash"`, `"zsh"` or `"tcsh"`.
    """
    return str(shtab.complete(parser, shell=shell))
