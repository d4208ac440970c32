"""Shell completion."""

from __future__ import annotations

import pytest

from fastapi_events.cli import parser


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_gets_a_script_that_knows_the_actions(shell: str) -> None:
    from fastapi_events.cli.completion import script  # where shtab is not installed, only this fails

    text = script(parser(), shell)

    assert "replay" in text
    assert "--older-than" in text or "older-than" in text
