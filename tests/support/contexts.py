"""Launch contexts: the ways in which people and machines start taskrun, as parameters of a test.

    @pytest.mark.parametrize("place", EVERYWHERE)
    def test_a6_sigterm(place, real):
        run = place.launch(real, "run", "*", "--grace", "300ms")
        runs.wait_for_files(real, *UP)
        run.signal(signal.SIGTERM)
        run.ended_by(signal.SIGTERM)

Each place knows how whoever started taskrun there can tell that it died of a signal, and checks that this is so: a
script that stops, a message of the shell, a status of 128 + n. At a prompt it checks that the terminal and its
descriptors are the shell's again.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import runs
from support.commands import CTRL_C, PATIENCE, Finished, Running, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.project import ProjectDir

PROMPT = "READY> "
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

_SAID_BY_SHELLS = {
    signal.SIGTERM: "Terminated",
    signal.SIGHUP: "Hangup",
    signal.SIGKILL: "Killed",
    signal.SIGQUIT: "Quit",
}


class Launched:
    """taskrun, started in some place.

    Attributes:
        project: The project whose tasks it runs.
        command: What the test itself has started: taskrun, or what started it.
    """

    def __init__(self, project: ProjectDir, command: Running | Terminal) -> None:
        self.project = project
        self.command = command

    @functools.cached_property
    def runner(self) -> int:
        """Its pid, once the run has begun."""
        return runs.runner_of(self.project)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the runner alone."""
        os.kill(self.runner, number)

    def interrupt(self) -> None:
        """What a person, or a machine, does to stop it here: Ctrl+C at a terminal, SIGINT elsewhere."""
        if isinstance(self.command, Terminal):
            self.command.press(CTRL_C)
        else:
            self.signal(signal.SIGINT)

    def wait_for(self, text: str) -> None:
        """Waits until this is shown."""
        if isinstance(self.command, Terminal):
            self.command.expect(re.escape(text))
        else:
            self.command.wait_for(text)

    def ended_by(self, number: signal.Signals, *, timeout: float = PATIENCE) -> Finished:
        """Waits for the end; whoever started it can tell that it died of this signal."""
        return self.command.finish(timeout=timeout).dies_of(number)

    def ended_with(self, status: int, *, timeout: float = PATIENCE) -> Finished:
        """Waits for the end; whoever started it sees this exit status."""
        return self.command.finish(timeout=timeout).exits(status)


class _InScript(Launched):
    """A shell waits for it, and goes on if it may."""

    def ended_by(self, number: signal.Signals, *, timeout: float = PATIENCE) -> Finished:
        finished = self.command.finish(timeout=timeout)
        if number == signal.SIGINT:  # the shell stops too, if it sees that the command died of it
            return finished.dies_of(number).never_says("went on")
        assert _SAID_BY_SHELLS[number] in finished.stdout + finished.stderr, f"the shell saw no signal\n{finished!r}"
        return finished.exits(0).prints(f"went on after {128 + number}")

    def ended_with(self, status: int, *, timeout: float = PATIENCE) -> Finished:
        return self.command.finish(timeout=timeout).exits(0).prints(f"went on after {status}")


class _AtPrompt(Launched):
    """A person's shell gives the prompt back, and is left."""

    command: Terminal

    def ended_by(self, number: signal.Signals, *, timeout: float = PATIENCE) -> Finished:
        return self._prompt_is_back(128 + number, timeout)

    def ended_with(self, status: int, *, timeout: float = PATIENCE) -> Finished:
        return self._prompt_is_back(status, timeout)

    def _prompt_is_back(self, status: int, timeout: float) -> Finished:
        terminal = self.command
        terminal.expect(f"\n{PROMPT}", timeout=timeout)
        terminal.press("echo status $?; grep -h flags /proc/self/fdinfo/[012]; echo end\n")
        seen = terminal.expect(r"\nstatus (\d+)\n((?:flags:\s*\d+\n)*)end\n")
        assert int(seen[1]) == status, f"expected status {status}; shown was\n{terminal.text}"
        assert not any(int(flags, 8) & os.O_NONBLOCK for flags in re.findall(r"\d+", seen[2])), "left non-blocking"
        terminal.expect(PROMPT)
        return terminal.press("exit 0\n").finish(timeout=timeout).exits(0)


class _AsProcessOne(Launched):
    """It is process 1 of a namespace, where no default action kills it: so it ends by status."""

    @functools.cached_property
    def runner(self) -> int:
        runs.runner_of(self.project)  # says 1, but by then it is there
        (pid,) = runs.children(self.command.pid)
        return pid

    def ended_by(self, number: signal.Signals, *, timeout: float = PATIENCE) -> Finished:
        finished = self.command.finish(timeout=timeout)
        if number == signal.SIGKILL:  # some versions of unshare fail to do to themselves what was done to it
            assert finished.status
            return finished
        return finished.exits(128 + number)


class _Wrapped(Launched):
    """Another program waits for it, and hands on a status of 128 + n."""

    def ended_by(self, number: signal.Signals, *, timeout: float = PATIENCE) -> Finished:
        finished = self.command.finish(timeout=timeout)
        assert finished.status in {128 + number, -number}, f"expected {128 + number}\n{finished!r}"
        return finished


class _Nested(Launched):
    """It is a task of another taskrun, to which the signals go."""

    @functools.cached_property
    def runner(self) -> int:
        return self.command.pid


class Place:
    """A launch context.

    Attributes:
        name: In the names of tests.
        ignores: Signals that reach nobody there.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[ProjectDir, tuple[str, ...]], Launched],
        *,
        needs: str = "",
        ignores: tuple[signal.Signals, ...] = (),
    ) -> None:
        self.name = name
        self.ignores = ignores
        self._launch = launch
        self._needs = needs

    def launch(self, project: ProjectDir, *words: str) -> Launched:
        """Starts ``taskrun WORDS`` there; the test is skipped where this machine has no such place."""
        if self._needs and not _found(self._needs):
            pytest.skip(f"{self._needs} is not installed")
        return self._launch(project, words)


def _found(program: str) -> str | None:
    """Where a program is: beside the interpreter, as what the tests' own environment has, or on the PATH."""
    return shutil.which(program, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))


def _alone(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    return Launched(project, project.start(*words))


def _at_terminal(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    return Launched(project, project.terminal(*words))


def _at_prompt(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    return _AtPrompt(project, at_prompt(project, shlex.join(("taskrun", *words))))


def at_prompt(project: ProjectDir, line: str = "") -> Terminal:
    """An interactive bash with job control, at its first prompt; then a line is typed.

    It does no editing: so the terminal's modes are the same at the prompt and below it.
    """
    terminal = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": PROMPT})
    terminal.expect(PROMPT)
    return terminal.press(f"{line}\n") if line else terminal


def _in_script(shell: str, project: ProjectDir, words: tuple[str, ...]) -> Launched:
    project.write("script", f"{shlex.join(('taskrun', *words))}\necho went on after $?\n")
    return _InScript(project, project.terminal(argv=(shell, "script")))


def _in_background(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    line = f"{shlex.join(('taskrun', *words))} & wait $!; echo went on after $?"
    return _InScript(project, project.launch("sh", "-c", line))


def _as_process_one(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace may be made here")
    return _AsProcessOne(project, project.launch(*NAMESPACE, *project.command, *words))


def _under_nohup(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    return Launched(project, project.launch("nohup", *project.command, *words))


def _under_npm(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    project.write("package.json", json.dumps({"scripts": {"go": shlex.join(("taskrun", *words))}}))
    env = {"npm_config_update_notifier": "false"}
    return _Wrapped(project, project.terminal(argv=("npm", "run", "--silent", "go"), env=env))


def _under_uv(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    argv = (_found("uv") or "uv", "run", "--no-project", "--offline", "--no-cache", *project.command, *words)
    return _Wrapped(project, project.terminal(argv=argv))


def _nested(project: ProjectDir, words: tuple[str, ...]) -> Launched:
    inner = shlex.join(("taskrun", *words))
    project.write("outer/tasks.toml", f"[tasks.inner]\ncwd = '..'\nshell = {json.dumps('exec ' + inner)}\n")
    return _Nested(project, project.start("run", "-f", "outer/tasks.toml", "inner", "--grace", "100s"))


ALONE = Place("alone, no terminal", _alone)
AT_TERMINAL = Place("alone at a terminal", _at_terminal)
AT_PROMPT = Place("interactive bash", _at_prompt, needs="bash")
IN_BASH = Place("bash script", functools.partial(_in_script, "bash"), needs="bash")
IN_DASH = Place("dash script", functools.partial(_in_script, "dash"), needs="dash")
IN_BACKGROUND = Place("background", _in_background, ignores=(signal.SIGINT, signal.SIGQUIT))
PROCESS_ONE = Place("process 1", _as_process_one)
UNDER_NOHUP = Place("nohup", _under_nohup, needs="nohup", ignores=(signal.SIGHUP,))
UNDER_NPM = Place("npm run", _under_npm, needs="npm")
UNDER_UV = Place("uv run", _under_uv, needs="uv")
NESTED = Place("nested", _nested)

PLACES = (
    ALONE,
    AT_TERMINAL,
    AT_PROMPT,
    IN_BASH,
    IN_DASH,
    IN_BACKGROUND,
    PROCESS_ONE,
    UNDER_NOHUP,
    UNDER_NPM,
    UNDER_UV,
    NESTED,
)


def where(*numbers: signal.Signals, places: tuple[Place, ...] = PLACES) -> list[Any]:
    """The parameters of a test that sends these signals, in all places where none of them is ignored."""
    return [pytest.param(place, id=place.name) for place in places if not set(numbers) & set(place.ignores)]
