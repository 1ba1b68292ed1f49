"""A user's regex that would search for ever."""

from support import runs


def test_a_regex_that_would_search_for_ever_stops_neither_the_run_nor_another_tasks_clock(project):
    project.tasks(r"""
        [tasks.a]
        shell = "for n in $(seq 20); do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab; done"
        progress = { regex = '(?P<percent>(a+)+)$' }
        [tasks.b]
        run = ["sleep", "60"]
        timeout = "300ms"
    """)
    finished = project.taskrun("run", "-k", "a", "b").exits(124)
    assert runs.states(project) == {"a": "succeeded", "b": "timed-out"}
    assert (finished.stderr).count("`progress.regex` has searched") == 1
