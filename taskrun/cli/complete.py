"""What a shell's completion asks: tasks with their descriptions, ``KEY=`` and values for it.

It is asked at every press of the Tab key: it reads the file as it is, checks nothing, starts nothing, imports no
msgspec, and says nothing but answers; where it cannot help, it is silent.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from taskrun.cli.answers import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "_TASKRUN_COMPLETE"

# As click's own, but for three things: it hands over the line rather than bash's words, which are cut at `=`; no blank
# is added behind a lone `KEY=`; and a bash older than 4.4, which has no `nosort`, sorts.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n'
    local response completion type value

    response=$(env _TASKRUN_LINE="${COMP_LINE:0:COMP_POINT}" _TASKRUN_BREAKS="$COMP_WORDBREAKS" \
%(complete_var)s=bash_complete "$1")

    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
        fi
    done

    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""


class Outline:
    """What completion wants of a file, read leniently: a part that is not as it should be is not there.

    Attributes:
        tasks: Descriptions by name.
        hidden: Names of hidden tasks.
        aliases: Names by alias.
        values: By ``KEY``, what it may be, as far as the file says; for parameters, variables and `foreach` keys.
        helps: By ``KEY``, what it is for.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.tasks: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.aliases: dict[str, str] = {}
        self.values: dict[str, list[str]] = {}
        self.helps: dict[str, str] = {}
        self._vars = _table(document.get("vars"))
        for key, value in self._vars.items():
            self._add_key(key, value)
        for name, task in _table(document.get("tasks")).items():
            self._add_task(name, _table(task))

    def _add_task(self, name: str, task: dict[str, Any]) -> None:
        self.tasks[name] = _text(task.get("description"))
        if task.get("hidden") is True:
            self.hidden.add(name)
        for alias in _list(task.get("aliases")):
            self.aliases[str(alias)] = name
        for key, value in _table(task.get("foreach")).items():
            self._add_key(key, self._looked_up(value))

    def _add_key(self, key: str, value: Any) -> None:
        table = _table(value)
        values = _list(value) or _list(table.get("choices"))
        if table.get("type") == "bool":
            values = ["true", "false"]
        known = self.values.setdefault(key, [])
        known += [text for text in map(str, values) if text not in known and "{{" not in text]
        if help_text := _text(table.get("help")):
            self.helps[key] = help_text

    def _looked_up(self, value: Any) -> Any:
        """The value of ``{{ vars.NAME }}``, where the file has it as a list."""
        if isinstance(value, str) and value.startswith("{{") and value.endswith("}}"):
            return self._vars.get(value[2:-2].strip().removeprefix("vars."))
        return value


def complete_words(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Answers for an argument of tasks; see ``options.complete_tasks``."""
    outline = read_outline(ctx.params.get("file"))
    if outline is None:
        return []
    sets_keys = ctx.command.name in {"run", "enqueue"}
    if sets_keys and "=" in incomplete and "[" not in incomplete:
        return list(_values(outline, incomplete))
    items = [
        *_tasks(outline, incomplete),
        *(_keys(outline, incomplete) if sets_keys else ()),
    ]
    return [item for item in items if item.value not in (ctx.params.get("words") or ctx.params.get("tasks") or ())]


def read_outline(file: str | None) -> Outline | None:
    """The outline of the file that a command would read; ``None`` where there is none, or it is no TOML."""
    from taskrun.config.peek import peek

    document = peek(file, os.environ, os.getcwd())
    return None if document is None else Outline(document)


def _tasks(outline: Outline, incomplete: str) -> Iterator[CompletionItem]:
    """Those that begin so; hidden ones and aliases only where nothing else does."""
    found = [name for name in outline.tasks if name.startswith(incomplete) and name not in outline.hidden]
    if not found and incomplete:
        found = [name for name in outline.tasks if name.startswith(incomplete)]
        for alias, name in outline.aliases.items():
            if alias.startswith(incomplete):
                yield CompletionItem(alias, help=f"{name}: {outline.tasks[name]}")
    for name in found:
        yield CompletionItem(name, help=outline.tasks[name])


def _keys(outline: Outline, incomplete: str) -> Iterator[CompletionItem]:
    for key in outline.values:
        if key.startswith(incomplete):
            yield CompletionItem(f"{key}=", help=outline.helps.get(key, ""))


def _values(outline: Outline, incomplete: str) -> Iterator[CompletionItem]:
    key, _, value = incomplete.partition("=")
    for known in outline.values.get(key, ()):
        if known.startswith(value):
            yield CompletionItem(f"{key}={known}", help=outline.helps.get(key, ""))


class _Words(ShellComplete):
    """Knows that the words behind ``--`` are the task's affair: files are the best guess there."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What may stand at the place."""
        if "--" in args:
            return [CompletionItem(incomplete, type="file")]
        return super().get_completions(args, incomplete)


class Bash(_Words, BashComplete):
    """For bash, which cuts words at `=` and replaces only what stands behind it."""

    source_template = _BASH

    def source(self) -> str:
        """The script; click would start a bash here to ask for its version."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that one, from the line up to the cursor."""
        from click.shell_completion import split_arg_string

        line = os.environ.get("_TASKRUN_LINE", "")
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Without what stands before the last break, since bash leaves that where it is; quoted as it needs."""
        import shlex

        if item.type != "plain":
            return f"{item.type},{item.value}"
        incomplete = self.get_completion_args()[1]
        start = max((incomplete.rfind(each) + 1 for each in os.environ.get("_TASKRUN_BREAKS", "=:") if each), default=0)
        return f"{item.type},{shlex.quote(item.value[start:])}"


class Zsh(_Words, ZshComplete):
    """For zsh, as click has it."""


class Fish(_Words, FishComplete):
    """For fish, as click has it."""


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def script(cli: click.Command, shell: str) -> str:
    """What a shell has to read to complete taskrun's words."""
    return SHELLS[shell](cli, {}, "taskrun", VARIABLE).source()


def serve(cli: click.Command, instruction: str) -> int:
    """Answers a shell: ``bash_complete``, or ``bash_source`` for the script. Returns the exit status.

    Whatever goes wrong, a person who pressed Tab is not shown it.
    """
    shell, _, what = instruction.partition("_")
    if shell not in SHELLS:
        return 1
    try:
        text = script(cli, shell) if what == "source" else SHELLS[shell](cli, {}, "taskrun", VARIABLE).complete() + "\n"
        click.echo(text, nl=False)
    except Exception:  # noqa: BLE001 - a traceback would be written into the line that somebody is typing
        return 1
    return 0


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return [each for each in value if isinstance(each, str | int | float)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else ""
