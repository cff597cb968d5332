"""``slimpack completion``: what makes a shell complete verbs, options and files."""

from __future__ import annotations

import click

from slimpack.cli.terminal import show

NAME = "slimpack"
"""The command that shells complete."""

COMPLETE = "_SLIMPACK_COMPLETE"
"""Variable by which the shell's script asks for completions; click answers."""

_SHELLS = {
    "bash": f'eval "$({NAME} completion bash)" in ~/.bashrc',
    "zsh": f'eval "$({NAME} completion zsh)" in ~/.zshrc',
    "fish": f"{NAME} completion fish | source in ~/.config/fish/config.fish",
}
"""Shells, and what switches completion on in them."""


@click.command(epilog="\b\n" + "\n".join(f"{shell}: {line}" for shell, line in _SHELLS.items()))
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete verbs, options and files.

    To have it in every shell, put the line below into the file that is named there.
    """
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    if maker is not None:  # the choice has only those that click knows
        show(maker(context.find_root().command, {}, NAME, COMPLETE).source() + "\n")
