"""A real PostgreSQL server for tests: in a folder of its own, reached by a socket in it alone, gone with the tests.

Where there is none, or the extra is not installed, tests that need it are skipped; with ``POSTGRES_REQUIRED`` set, as in
`.ci/run`, they fail.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib.util
import os
import shutil
import subprocess
import tempfile

import pytest

TIMEOUT = 120.0  # seconds; only what hangs takes so long
_LIFE, _END = os.pipe()  # the end is read when this process is gone, however it went
_QUICK = "fsync=off full_page_writes=off max_connections=60 autovacuum=off"


class Server:
    """A server that runs.

    Args:
        bin_folder: Where its programs are.
        settings: Without those of where it listens.
    """

    def __init__(self, bin_folder: str, settings: str = _QUICK) -> None:
        self._bin = bin_folder
        self._settings = [*settings.split(), "listen_addresses=''"]
        # The path of a socket has to be short, and a server does not run as root.
        self.folder = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
        self._as: dict[str, object] = {}
        if os.getuid() == 0:
            user = "postgres" if _has_user("postgres") else "nobody"
            self._as = {"user": user, "extra_groups": []}
            shutil.chown(self.folder, user)
        self._run("initdb", "-D", self.data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as rules:
            rules.write("local all guarded scram-sha-256\nlocal all all trust\n")
        self._end_with_the_tests()
        self.start()

    @property
    def data(self) -> str:
        return os.path.join(self.folder, "data")

    def url(self, database: str, *, user: str = "tests", options: str = "") -> str:
        extra = f"&options={options}" if options else ""
        return f"postgresql://{user}@/{database}?host={self.folder}{extra}"

    def start(self) -> None:
        options = " ".join(f"-c {setting}" for setting in [*self._settings, f"unix_socket_directories={self.folder}"])
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", f"{self.folder}/log", "-o", options)

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", how)

    def _end_with_the_tests(self) -> None:
        # Of what is started in the background the shell takes stdin away, so it is read from elsewhere.
        script = 'exec 3<&0; (read _ <&3; "$1" stop -D "$2" -m immediate; rm -rf "$3") >/dev/null 2>&1 &'
        argv = ["sh", "-c", script, "sh", os.path.join(self._bin, "pg_ctl"), self.data, self.folder]
        subprocess.run(argv, check=True, env=_ENVIRONMENT, stdin=_LIFE, start_new_session=True, cwd="/", **self._as)

    def _run(self, program: str, *args: str) -> None:
        # Into a file: the server inherits it, and a pipe would be read until the server ends.
        with tempfile.TemporaryFile() as said:
            argv = [os.path.join(self._bin, program), *args]
            ended = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=_ENVIRONMENT,
                timeout=TIMEOUT,
                cwd="/",
                **self._as,
            )
            said.seek(0)
            assert ended.returncode == 0, f"{argv}: {said.read().decode()}"


# Not the test's, by which processes that a test leaves behind are found.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _has_user(name: str) -> bool:
    import pwd

    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def missing() -> str | None:
    """Why there is no server."""
    if importlib.util.find_spec("procrastinate") is None or importlib.util.find_spec("psycopg") is None:
        return "procrastinate and psycopg are not installed"
    return None if programs() else "there is no PostgreSQL server on this machine"


def programs() -> str | None:
    """The folder of a server's programs."""
    folders = [*glob.glob("/usr/lib/postgresql/*/bin"), *glob.glob("/usr/pgsql-*/bin"), *os.environ["PATH"].split(":")]
    return next((each for each in folders if os.access(os.path.join(each, "postgres"), os.X_OK)), None)


@functools.cache
def _started() -> Server:
    found = programs()
    assert found is not None
    return Server(found)


def server() -> Server:
    """The one of this session; skips the test where there can be none."""
    why = missing()
    if why is not None:
        if os.environ.get("POSTGRES_REQUIRED"):
            pytest.fail(why)
        pytest.skip(why)
    return _started()
