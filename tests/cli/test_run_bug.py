"""A bug in taskrun itself, planted: the run ends with status 3, its events and its record end too, nothing is left."""

from __future__ import annotations

import json

from support import runs

PLANTED = """
    from taskrun.resolve.resolver import Resolver

    attempt = Resolver.attempt

    def planted(self, instance, *rest):
        if instance.name == "b":
            raise ZeroDivisionError("planted")
        return attempt(self, instance, *rest)

    Resolver.attempt = planted
"""


def test_a_bug_ends_the_run_in_good_order(project):
    project.write("planted/sitecustomize.py", PLANTED)
    project.tasks("""
        [tasks.a]
        run = ["sleep", "71.75"]
        [tasks.c]
        run = ["true"]
        [tasks.b]
        needs = ["c"]
        run = ["true"]
    """)
    path = f"{project.path / 'planted'}:{project.env['PYTHONPATH']}"
    finished = project.taskrun("run", "a", "b", "-j", "2", "--events", "events", env={"PYTHONPATH": path})
    finished.exits(3).says("a bug in taskrun: ZeroDivisionError: planted", "the details are in")
    last = json.loads(project.read("events").splitlines()[-1])
    assert (last["event"], last["exit_status"]) == ("run.end", 3)
    assert runs.summary(project)["exit_status"] == 3
    assert project.left_behind() == []


def test_a_module_that_exits_in_the_place_of_one_that_we_import_is_no_success(project):
    project.write("planted/random.py", "raise SystemExit('not the random that was meant')")
    project.tasks('[tasks.a]\nrun = ["touch", "ran"]')
    path = f"{project.path / 'planted'}:{project.env['PYTHONPATH']}"
    project.taskrun("run", "a", env={"PYTHONPATH": path}).exits(1).says("not the random that was meant")
    assert not (project.path / "ran").exists()
