"""Inspections with real processes: what modules may do while they are imported, and what is answered all the same."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.fake_host import FakeHost, children, wait

from taskrun.worker import wire


def site(number, target, *args, **kwargs):
    return wire.CallSite(id=number, target=target, args=args, kwargs=kwargs)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clean.py").write_text("import random\ndef f(n: int): return n\ndef draw(): return random.random()\n")
    (tmp_path / "other.py").write_text("def g(text: str = ''): return text\n")
    return tmp_path


@pytest.fixture
def host(folder):
    with FakeHost(folder) as host:
        yield host
    assert not children()


def test_a_clean_probe_becomes_the_template(host):
    before = host.pid
    reply = host.inspect(site(1, "clean:f", 1), site(2, "other:g"))
    assert host.pid != before
    assert {name: report.unclean for name, report in reply.modules.items()} == {"clean": "", "other": ""}
    assert [p.name for p in reply.targets["clean:f"].parameters] == ["n"]
    assert reply.targets["clean:f"].parameters[0].schema == {"type": "integer"}
    assert reply.problems == ()
    assert host.run("clean:f", 3).result == 3
    assert len({host.run("clean:draw").result for _ in range(3)}) == 3


def test_a_second_inspection_needs_no_new_template(host):
    host.inspect(site(1, "clean:f", 1))
    before = host.pid
    reply = host.inspect(site(1, "clean:f", "x"))
    assert host.pid == before
    assert [problem.message for problem in reply.problems] == ["expected `int`, got `str`"]
    host.inspect(site(1, "clean:f", 1), site(2, "other:g"))
    assert host.pid != before


UNCLEAN = {
    "import os\nos.kill(os.getpid(), 11)\n": "is killed by SIGSEGV while it is imported",
    "import os\nos._exit(0)\n": "ends the process with status 0 while it is imported",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(50,), daemon=True, name='poll').start()\n": (
        "leaves 1 thread running: poll"
    ),
    "held = open('held.txt', 'w')\n": "leaves {folder}/held.txt open",
}


@pytest.mark.parametrize("source", UNCLEAN)
def test_an_unclean_module_is_named_and_costs_the_others_nothing(folder, host, source):
    (folder / "odd.py").write_text(source + "def h(n: int): return n\n")
    before = host.pid
    reply = host.inspect(site(1, "clean:f", "x"), site(2, "odd:h", 1), site(3, "other:g", nope=1))
    assert reply.modules["odd"].error is None
    assert reply.modules["odd"].unclean == UNCLEAN[source].format(folder=folder)
    assert reply.modules["clean"] == wire.ModuleReport(seconds=reply.modules["clean"].seconds)
    assert [(p.site, p.code) for p in reply.problems] == [(1, "wrong-type"), (3, "unknown-argument")]
    assert host.pid != before  # the others are in the template all the same
    assert host.run("other:g", "x").result == "x"
    if "_exit" not in source and "kill" not in source:
        assert host.run("odd:h", 4).result == 4
        assert [p.name for p in reply.targets["odd:h"].parameters] == ["n"]


def test_only_unclean_modules_leave_the_old_template(folder, host):
    (folder / "odd.py").write_text("import os\nos.abort()\n")
    before = host.pid
    reply = host.inspect(site(1, "odd:h"))
    assert reply.modules["odd"].unclean == "is killed by SIGABRT while it is imported"
    assert (reply.targets, host.pid) == ({}, before)
    worker = host.run("odd:h")
    assert worker.status == -signal.SIGABRT


def test_sys_exit_at_import_is_a_mistake_with_its_place(folder, host):
    (folder / "leaves.py").write_text("import sys\n\nsys.exit('no config')\n")
    reply = host.inspect(site(1, "leaves:f"), site(2, "clean:f", 1))
    error = reply.modules["leaves"].error
    assert error.message == "`leaves` calls sys.exit('no config') while it is imported"
    assert (os.path.basename(error.file), error.line) == ("leaves.py", 3)
    assert reply.targets["clean:f"].error is None


def test_import_errors_have_file_line_and_text(folder, host):
    (folder / "broken.py").write_text("x = 1\n\ny = x + 'a'\n")
    (folder / "syntax.py").write_text("def f():\n    return (1\n")
    (folder / "needs_it.py").write_text("from broken import y\n")
    reply = host.inspect(*(site(n, f"{m}:f") for n, m in enumerate(("broken", "syntax", "needs_it", "claen", "a.b"))))
    error = reply.modules["broken"].error
    assert (error.type, os.path.basename(error.file), error.line, error.text) == (
        "TypeError", "broken.py", 3, "y = x + 'a'",
    )  # fmt: skip
    assert "importlib" not in error.traceback
    assert "taskrun" not in error.traceback
    error = reply.modules["syntax"].error
    assert (error.type, error.line, error.column, error.text) == ("SyntaxError", 2, 12, "    return (1")
    error = reply.modules["needs_it"].error
    assert (os.path.basename(error.file), error.line) == ("broken.py", 3)
    assert reply.modules["claen"].error.hint == "did you mean `clean`?"
    assert reply.modules["a.b"].error.message == "there is no module `a`"


def test_an_import_that_never_ends_is_ended_and_named(folder, host):
    (folder / "hangs.py").write_text("import time\ntime.sleep(100)\n")
    started = time.monotonic()
    reply = host.inspect(site(1, "hangs:f"), site(2, "clean:f", 1), import_timeout=0.3)
    assert time.monotonic() - started < 20
    assert reply.modules["hangs"].error.message == "importing `hangs` had not ended after 0.3 s"
    assert reply.targets["clean:f"].error is None
    assert "hangs.py" in host.log_text()  # where it stood
    assert host.run("clean:f", 1).result == 1


def test_a_host_that_goes_during_an_import_ends_all(folder):
    (folder / "hangs.py").write_text(
        f"import os, time\nopen({str(folder / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(100)\n"
    )
    with FakeHost(folder) as host:
        import msgspec

        from taskrun import frames

        payload = msgspec.msgpack.encode(wire.InspectRequest(calls=(site(1, "hangs:f"),)))
        host.socket.sendall(frames.pack(("inspect", 1, payload)))
        until = time.monotonic() + 20
        while not (folder / "pid").exists() or not (folder / "pid").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        host.close()  # waits for the template
    probe = int((folder / "pid").read_text())
    assert wait(probe) == -signal.SIGKILL
    assert not children()


def test_what_modules_print_goes_to_the_templates_log(folder, host):
    (folder / "talks.py").write_text("import sys\nprint('good morning')\nsys.stdout.write('half')\ndef f(): return 1\n")
    host.inspect(site(1, "talks:f"))
    worker = host.run("talks:f")
    assert (worker.out, worker.result) == ("", 1)
    assert host.log_text() == "good morning\nhalf"


def test_targets_that_cannot_be_called_say_why(folder, host):
    (folder / "things.py").write_text(
        "class Tool:\n    def use(self, n: int): return n\ntool = Tool()\nvalue = 3\n"
        "async def a(): pass\ndef g(): yield\nasync def ag(): yield\n"
    )
    names = (
        "things:value",
        "things:a",
        "things:g",
        "things:ag",
        "things:tool.uze",
        "things:tool.use",
        "things:Nope",
        "x:",
    )
    reply = host.inspect(*(site(n, name, 1) for n, name in enumerate(names)))
    errors = {name: reply.targets[name].error for name in names}
    assert errors["things:value"].message == "`things:value` is not a function but of type `int`"
    assert errors["things:a"].message == "`things:a` is an async function: calling it would do nothing"
    assert errors["things:a"].line == 5
    assert [errors[f"things:{n}"].type for n in ("a", "g", "ag")] == ["async", "generator", "generator"]
    assert errors["things:tool.uze"].hint == "did you mean `use`?"
    assert errors["things:tool.use"] is None
    assert errors["things:Nope"].type == "not-found"
    assert errors["x:"].hint == "write it as `module:function`"
    assert reply.problems == ()


def test_no_warning_about_forks_and_threads(folder):
    with FakeHost(folder, options=("-W", "error")) as host:
        host.inspect(site(1, "clean:f", 1))
        assert host.run("clean:f", 1).result == 1
        assert host.log_text() == ""


def test_preload_is_imported_at_once_and_its_errors_told(folder):
    (folder / "broken.py").write_text("1 / 0\n")
    with FakeHost(folder, preload=("clean", "broken", "nowhere")) as host:
        assert set(host.ready["errors"]) == {"broken", "nowhere"}
        assert "ZeroDivisionError" in host.ready["errors"]["broken"]
        before = host.pid
        host.inspect(site(1, "clean:f", 1))
        assert host.pid == before
