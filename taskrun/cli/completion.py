"""``taskrun completion``: prints the script with which a shell completes taskrun's words."""

from __future__ import annotations

import click

from taskrun.cli.answers import answer

_HELP = """\
Print the shell's completion script.

\b
bash:  echo 'eval "$(taskrun completion bash)"' >> ~/.bashrc
zsh:   echo 'eval "$(taskrun completion zsh)"' >> ~/.zshrc
fish:  taskrun completion fish > ~/.config/fish/completions/taskrun.fish
"""


@click.command(name="completion", help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Prints what a shell has to read."""
    from taskrun.cli.complete import script

    return answer(script(ctx.find_root().command, shell))
