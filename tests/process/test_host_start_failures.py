"""Rows D1 to D15: a program that cannot be started is reported once, precisely, and costs no descriptor."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import census
from support.linked import outcome, run, start

from taskrun.link import Link, SpawnError

if TYPE_CHECKING:
    from pathlib import Path


def failure(argv: tuple[str, ...], **how: object) -> SpawnError:
    """The error with which a start fails."""
    caught: list[SpawnError] = []

    async def body(link: Link) -> None:
        with pytest.raises(SpawnError) as info:
            await start(link, argv, **how)
        caught.append(info.value)
        usage, text = await outcome(link, ("echo", "the host is well"))
        assert (usage.status, text) == (0, "the host is well\n")

    run(body)
    return caught[0]


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_bytes(text.encode())
    path.chmod(mode)
    return str(path)


def test_a_command_that_is_not_in_path_names_path_and_the_nearest_command(tmp_path: Path) -> None:
    script(tmp_path / "ffmpeg", "#!/bin/sh\n")
    error = failure(("ffmpge",), env={"PATH": f"/nonexistent:{tmp_path}"})
    assert (error.failure.kind, error.failure.code) == ("not-found", 127)
    assert str(error) == f"ffmpge: command not found (did you mean ffmpeg?) in PATH=/nonexistent:{tmp_path}"


def test_the_path_of_the_task_decides_and_not_the_hosts() -> None:
    assert failure(("sh",), env={"PATH": "/nonexistent"}).failure.kind == "not-found"


def test_an_unset_path_is_the_systems_default_and_an_empty_one_is_the_folder(tmp_path: Path) -> None:
    script(tmp_path / "here", "#!/bin/sh\necho found\n")

    async def body(link: Link) -> None:
        assert (await outcome(link, ("true",), env={}))[0].status == 0
        assert (await outcome(link, ("here",), env={"PATH": ""}, cwd=str(tmp_path)))[1] == "found\n"

    run(body)


def test_a_folder_of_path_is_skipped_where_its_entry_cannot_be_run(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    script(tmp_path / "a" / "tool", "#!/bin/sh\necho a\n", 0o644)
    (tmp_path / "b" / "tool").mkdir()
    script(tmp_path / "c" / "tool", "#!/bin/sh\necho c\n")

    async def body(link: Link) -> None:
        path = f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c"
        assert (await outcome(link, ("tool",), env={"PATH": path}))[1] == "c\n"

    run(body)


def test_a_file_in_path_without_the_right_to_be_run_is_said_to_be_there(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#!/bin/sh\n", 0o644)
    error = failure(("tool",), env={"PATH": str(tmp_path)})
    assert (error.failure.kind, error.failure.code) == ("not-executable", 126)
    assert str(error) == f"tool ({tool}) is not executable (mode 0644); chmod +x makes it so"


def test_a_path_to_a_file_that_may_not_be_run(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#!/bin/sh\n", 0o640)
    assert str(failure((tool,))) == f"{tool} is not executable (mode 0640); chmod +x makes it so"


def test_a_path_to_a_folder(tmp_path: Path) -> None:
    error = failure((str(tmp_path),))
    assert error.failure.kind == "not-executable"
    assert str(error) == f"{tmp_path} is a folder, not a program"


def test_a_path_to_a_fifo_does_not_hang_the_host(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    assert str(failure((str(tmp_path / "fifo"),))) == f"{tmp_path}/fifo is not a regular file"
    tool = script(tmp_path / "tool", f"#!{tmp_path}/fifo\n")
    assert failure((tool,)).failure.kind == "not-executable"


def test_a_path_to_nothing_and_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nonexistent/x")
    assert str(failure(("./gone",), cwd=str(tmp_path))) == f"./gone: no such file (looked for in {tmp_path})"
    link = failure((str(tmp_path / "link"),))
    assert str(link) == f"{tmp_path}/link is a link to /nonexistent/x, which does not exist"
    assert {link.failure.kind, link.failure.code} == {"not-found", 127}


def test_a_relative_program_is_relative_to_the_tasks_folder(tmp_path: Path) -> None:
    script(tmp_path / "tool", "#!/bin/sh\npwd\n")

    async def body(link: Link) -> None:
        assert (await outcome(link, ("./tool",), cwd=str(tmp_path)))[1] == f"{tmp_path}\n"

    run(body)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("echo hello\n", "a script must begin with a line such as #!/bin/sh"),
        ("", "the file is empty"),
        ("\x7fELF but not really", "it was built for another kind of machine, or is damaged"),
    ],
)
def test_a_file_that_is_no_program_is_never_given_to_a_shell(tmp_path: Path, content: str, why: str) -> None:
    tool = script(tmp_path / "tool", content)
    error = failure((tool,))
    assert (error.failure.kind, error.failure.code, error.number) == ("not-executable", 126, errno.ENOEXEC)
    assert str(error) == f"{tool} is not a program: {why}"


def test_an_interpreter_that_is_missing_is_told_from_a_command_that_is(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#! /usr/bin/nonexistent -x\n")
    error = failure((tool,))
    assert error.failure.kind == "not-executable"
    assert str(error) == f"{tool}: its interpreter '/usr/bin/nonexistent' does not exist"


def test_a_script_with_crlf_is_recognised(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#!/bin/sh\r\necho\r\n")
    text = f"{tool}: its interpreter '/bin/sh\\r' does not exist; its lines end in CRLF, they must end in LF"
    assert str(failure((tool,))) == text


def test_an_interpreter_that_may_not_be_run(tmp_path: Path) -> None:
    interpreter = script(tmp_path / "sh", "", 0o644)
    tool = script(tmp_path / "tool", f"#!{interpreter}\n")
    assert str(failure((tool,))) == f"{tool}: its interpreter '{interpreter}' is not executable"


def test_a_binary_whose_loader_is_missing(tmp_path: Path) -> None:
    with open("/bin/true", "rb") as file:
        content = file.read()
    start = content.find(b"/lib64/ld-linux") if b"/lib64/ld-linux" in content else content.find(b"/lib/ld-")
    if start < 0:
        pytest.skip("/bin/true is linked statically")
    broken = content[:start] + b"/nxb64" + content[start + 6 :]
    (tmp_path / "tool").write_bytes(broken)
    (tmp_path / "tool").chmod(0o755)
    assert "the loader that it was linked for does not exist here" in str(failure((str(tmp_path / "tool"),)))


def test_the_folder_is_missing_or_a_file_or_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for text in (f"the folder {tmp_path}/gone does not exist", f"{tmp_path}/file is not a folder"):
        path = text.removeprefix("the folder ").split(" ")[0]
        error = failure(("true",), cwd=path)
        assert (error.failure.kind, str(error)) == ("cwd", text)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o600)
    error = failure(("true",), cwd=str(tmp_path / "closed"))
    assert str(error) == f"the folder {tmp_path}/closed may not be entered (no permission)"


def test_one_argument_that_is_too_long_and_a_whole_that_is() -> None:
    one = failure(("true", "x" * 200_000))
    assert (one.failure.kind, one.number) == ("too-long", errno.E2BIG)
    assert "one argument has 200,000 bytes, at most 131,071 are possible" in str(one)
    whole = failure(("true", *["x" * 100_000] * 80))
    assert str(whole).startswith("true: arguments and environment are too long: 8.0 MB; the limit is ")
    variable = failure(("true",), env={"PATH": "/bin", "BIG": "x" * 200_000})
    assert "the variable BIG alone is longer than 131,071 bytes" in str(variable)


def test_nul_bytes_and_lone_surrogates_fail_one_start_and_not_the_host() -> None:
    for argv in (("true", "a\0b"), ("tr\0ue",), ("true", "\ud800")):
        assert failure(argv).failure.kind == "other"
    assert failure(("true",), env={"PATH": "/bin", "A=B": "c"}).failure.kind == "other"
    assert failure(("true",), cwd="/\0").failure.kind == "cwd"
    assert failure(("",)).failure.kind == "not-found"


def test_a_program_that_is_being_written_is_tried_again_and_then_refused(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    with open("/bin/true", "rb") as file:
        tool.write_bytes(file.read())
    tool.chmod(0o755)

    async def body(link: Link) -> None:
        import trio

        writing = os.open(tool, os.O_WRONLY)
        with pytest.raises(SpawnError) as info:
            await start(link, (str(tool),))
        assert str(info.value) == f"{tool} is being written by another process"
        async with trio.open_nursery() as nursery:
            ends: list[int | None] = []

            async def one() -> None:
                ends.append((await outcome(link, (str(tool),)))[0].status)

            nursery.start_soon(one)
            await trio.sleep(0.02)
            os.close(writing)
        assert ends == [0]

    run(body)


def test_a_shortage_that_passes_is_waited_for_and_one_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in production but for where the shortage comes from: root has no limit of processes.
    from taskrun.host import launch, linux, supervisor
    from taskrun.host.leader import Leader

    answers: list[tuple[object, ...]] = []
    later: list[tuple[float, object]] = []

    class Short:
        calls = 0

        def launch(self, *_: object) -> int:
            self.calls += 1
            raise launch.LaunchFailed("resources", errno.EAGAIN, "x: no more processes", "resources")

    host = object.__new__(supervisor.Supervisor)
    host._launcher = Short()
    host._platform = linux.Linux()
    host._spawns = {}
    host._loop = type("Loop", (), {"after": lambda _self, delay, ready: later.append((delay, ready))})()
    host.put = lambda *message: answers.append(message)
    host.reaper = type("Reaper", (), {"leaders": {1: Leader(1, 1, 0, "", worker=False)}})()
    request = {"argv": ["x"], "env": {}, "cwd": "/", "mark": ""}

    host._try(supervisor.Spawn(7, request, []))
    while later:
        delay, ready = later.pop()
        assert 0.05 <= delay <= 2
        ready()
    assert host._launcher.calls == 10
    assert answers == [("failed", 7, "resources", errno.EAGAIN, "x: no more processes")]

    host.reaper.leaders.clear()
    answers.clear()
    host._try(supervisor.Spawn(8, request, []))
    assert not later, "nothing runs whose end could help"
    assert answers[0][1] == 8


def test_a_worker_of_its_own_that_finds_no_descriptor_left_is_told_and_its_own_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where none can be forked, its stdin is opened by the host."""
    from taskrun.host import portable, supervisor

    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    answers: list[tuple[object, ...]] = []
    pipe = os.pipe()
    host = object.__new__(supervisor.Supervisor)
    host._platform = portable.Portable()
    host._environ = {}
    host._control = type("Control", (), {"take_fds": lambda *_: [*pipe, os.dup(pipe[0])]})()
    host._templates = type("Templates", (), {"worker_argv": lambda *_: ["x"]})()
    host.put = lambda *message: answers.append(message)
    with monkeypatch.context() as patch:
        patch.setattr(supervisor.os, "open", full)
        host._call(7, "0", {"env": {}, "cwd": "/", "mark": "m"}, 3)
    assert answers == [("failed", 7, "resources", errno.EMFILE, "taskrun's host: Too many open files")]
    for fd in pipe:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_a_limit_of_processes_fails_the_start_with_a_reason() -> None:
    from taskrun.host.launch import Launcher, LaunchFailed

    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgid(54321)
            os.setuid(54321)
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            Launcher().launch(["true"], {"PATH": "/bin:/usr/bin"}, "/", [1, 2])
        except LaunchFailed as failure:
            os.write(writing, f"{failure.again}: {failure}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, encoding="utf-8") as said:
        assert said.read().startswith("resources: true: no more processes may be started")


def test_a_thousand_failed_starts_leak_no_descriptor_on_either_side(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "no program")

    async def body(link: Link) -> None:
        for argv in (("nonexistent",), (tool,)):  # the first of each warms up
            with pytest.raises(SpawnError):
                await start(link, argv, env={"PATH": "/bin"})
        ours, theirs = census.descriptors_of(os.getpid()), census.descriptors_of(link.pid)
        for number in range(1000):
            argv = ("nonexistent",) if number % 2 else (tool,)
            with pytest.raises(SpawnError):
                await start(link, argv, env={"PATH": "/bin"}, cwd="/" if number % 3 else "/nonexistent")
        assert (census.descriptors_of(os.getpid()), census.descriptors_of(link.pid)) == (ours, theirs)

    run(body)


def test_a_host_without_room_for_descriptors_refuses_and_goes_on(tmp_path: Path) -> None:
    async def body(link: Link) -> None:
        assert (await outcome(link, ("true",)))[0].status == 0
        limits = resource.prlimit(link.pid, resource.RLIMIT_NOFILE)
        room = census.descriptors_of(link.pid)
        resource.prlimit(link.pid, resource.RLIMIT_NOFILE, (room, limits[1]))
        with pytest.raises(SpawnError) as info:
            await start(link, ("true",))
        assert (info.value.failure.kind, info.value.number) == ("resources", errno.EMFILE)
        resource.prlimit(link.pid, resource.RLIMIT_NOFILE, limits)
        assert (await outcome(link, ("echo", "well")))[1] == "well\n"
        assert census.descriptors_of(link.pid) == room

    run(body)


def test_a_mount_with_noexec_is_named(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#!/bin/sh\n")
    code = (
        "import sys; from taskrun.host.launch import Launcher, LaunchFailed\n"
        "try: Launcher().launch([sys.argv[1]], {}, '/', [1, 2])\n"
        "except LaunchFailed as failure: print(failure)\n"
    )
    command = 'mount --bind "$1" "$1" && mount -o remount,bind,noexec "$1" && exec "$2" -c "$3" "$1/tool"'
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    argv = ["unshare", "--mount", "--map-root-user", "sh", "-c", command, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env)
    if done.returncode or not done.stdout:
        pytest.skip(f"no mount namespace here: {done.stderr[-200:]}")
    assert done.stdout == f"{tool} is on a file system mounted with noexec\n"
