"""A silent ffmpeg's input is asked for its length first: a stop does not wait for the answer."""

from __future__ import annotations

import signal

from support import runs


def test_an_interrupt_ends_the_asking_for_a_length(project):
    project.write("ffprobe", "#!/bin/sh\n: > asked\nsleep 3\n: > late\nsleep 71.5\n").chmod(0o755)
    project.write("ffmpeg", "#!/bin/sh\n: > started\n").chmod(0o755)
    project.tasks("""
        [tasks.a]
        run = ["./ffmpeg", "-v", "quiet", "-i", "in.mov", "out.mp4"]
        progress = "ffmpeg"
    """)
    running = project.start("run", "a")
    runs.wait_for_files(project, "asked")
    running.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    assert not (project.path / "late").exists()
    assert not (project.path / "started").exists()
    assert runs.states(project) == {"a": "cancelled"}
    assert project.left_behind() == []
