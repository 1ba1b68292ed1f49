"""Starts binaries, and says precisely why one could not be started. It waits for nothing and keeps nothing."""

from __future__ import annotations

import errno
import os

from taskrun.host.signals import signal

SHORTAGE_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)
"""Seconds to wait, again and again, for what the machine is short of, while others run whose end could help."""

_SIGNALS = sorted(signal.valid_signals())
_BUSY = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_ABOVE = 10  # a shell has single digits for its user's redirections, and a spawned process its own up to 3
_ONE_ARGUMENT = 128 * 1024  # MAX_ARG_STRLEN, its final NUL counted


class LaunchFailed(Exception):  # noqa: N818 - reads as what happened
    """A program could not be started.

    Attributes:
        kind: As in ``model.SpawnFailed``.
        number: The errno, or 0.
        message: For people.
        again: ``"resources"``: the machine is short of something that may come free; ``"busy"``: the program's file is
            being written; empty: trying again is of no use.
    """

    def __init__(self, kind: str, number: int, message: str, again: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number
        self.message = message
        self.again = again


class Launcher:
    """Spawns binaries from a process that has one thread.

    Args:
        soft_files: The soft limit of open files that programs get, where it is lower than this process's own.
    """

    def __init__(self, soft_files: int | None = None) -> None:
        self._limits: tuple[int, int, int] | None = None
        if soft_files is not None:
            from resource import RLIMIT_NOFILE, getrlimit

            soft, hard = getrlimit(RLIMIT_NOFILE)
            if soft != soft_files:
                self._limits = (soft_files, soft, hard)

    def launch(self, argv: list[str], env: dict[str, str], cwd: str, fds: list[int]) -> int:
        """Starts ``argv`` in a session of its own, with default signals, and returns its pid.

        Args:
            argv: A program without ``/`` is looked up in ``env``'s PATH; one with is relative to ``cwd``.
            env: Its whole environment.
            cwd: Where to start; absolute.
            fds: stdin, stdout, stderr; or without stdin, which is then this process's own (``/dev/null``).

        Raises:
            LaunchFailed: It did not start, and why.
        """
        try:
            os.chdir(cwd)
        except (OSError, ValueError) as error:
            raise bad_folder(cwd, error) from error
        try:
            program = find_program(argv[0], env.get("PATH"))
            self._lower()
            try:
                return spawn(program, argv, env, fds)
            finally:
                self._raise()
        except OSError as error:
            raise _explain(error, program, argv, env, cwd) from error
        except ValueError as error:  # NUL bytes, lone surrogates, "=" in a name
            raise LaunchFailed("other", errno.EINVAL, f"{argv[0]}: {error}") from error
        finally:
            os.chdir("/")  # so that no folder is held by us

    def _lower(self) -> None:
        if self._limits:
            from resource import RLIMIT_NOFILE, setrlimit

            setrlimit(RLIMIT_NOFILE, (self._limits[0], self._limits[2]))

    def _raise(self) -> None:
        if self._limits:
            from resource import RLIMIT_NOFILE, setrlimit

            setrlimit(RLIMIT_NOFILE, (self._limits[1], self._limits[2]))


def spawn(program: str, argv: list[str], env: dict[str, str], fds: list[int]) -> int:
    """``posix_spawn`` in a session of its own, with default signals.

    Args:
        program: The file.
        argv: Its arguments, its name first.
        env: Its whole environment.
        fds: Its descriptors 0, 1, 2 and so on; where there are but two they are 1 and 2, and 0 is inherited.
    """
    first = 1 if len(fds) == 2 else 0
    return os.posix_spawn(
        program,
        argv,
        env,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, first + at) for at, fd in enumerate(fds)],
        setsid=True,
        setsigmask=(),
        setsigdef=_SIGNALS,
    )


def keep_open(fd: int) -> int:
    """Moves a descriptor to where all that is spawned from now on inherits it, and none of theirs lands on it."""
    from fcntl import F_DUPFD, fcntl

    kept = fcntl(fd, F_DUPFD, _ABOVE)
    os.close(fd)
    return kept


def find_program(name: str, path: str | None) -> str:
    """The file that a shell would run for ``name``; the current folder must be the program's.

    Raises:
        LaunchFailed: There is none, or none that may be run.
    """
    if "/" in name:
        return name
    folders = (os.defpath if path is None else path).split(":")
    if name:
        for folder in folders:
            candidate = f"{folder or '.'}/{name}"
            if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
                return candidate
    for folder in folders:
        candidate = f"{folder or '.'}/{name}"
        if name and os.path.isfile(candidate):
            raise _not_executable(name, candidate)
    searched = "an empty PATH" if path == "" else f"PATH={':'.join(folders)}"
    raise LaunchFailed("not-found", errno.ENOENT, f"{name or repr(name)}: command not found in {searched}")


def bad_folder(cwd: str, error: OSError | ValueError) -> LaunchFailed:
    """What ``chdir`` meant."""
    number = error.errno or 0 if isinstance(error, OSError) else errno.EINVAL
    match number:
        case errno.ENOENT:
            why = "does not exist"
        case errno.ENOTDIR:
            return LaunchFailed("cwd", number, f"{cwd} is not a folder")
        case errno.EACCES:
            why = "may not be entered (no permission)"
        case _:
            why = f"cannot be entered: {os.strerror(number) if number else error}"
    return LaunchFailed("cwd", number, f"the folder {cwd} {why}")


def _explain(error: OSError, program: str, argv: list[str], env: dict[str, str], cwd: str) -> LaunchFailed:
    """What ``posix_spawn`` meant, which uses one errno for many things."""
    number, name = error.errno or 0, argv[0]
    if number in _BUSY:
        return LaunchFailed("resources", number, f"{name}: {_shortage(number)}", "resources")
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            return _missing(name, program, cwd, number)
        case errno.EACCES:
            return _denied(name, program)
        case errno.ENOEXEC:
            return LaunchFailed("not-executable", number, f"{name} is not a program: {_not_a_program(program)}")
        case errno.E2BIG:
            return LaunchFailed("too-long", number, f"{name}: {_too_long(argv, env)}")
        case errno.ETXTBSY:
            return LaunchFailed("other", number, f"{name} is being written by another process", "busy")
        case _:
            text = f"{name}: {os.strerror(number)} ({errno.errorcode.get(number, number)})"
            return LaunchFailed("other", number, text)


def _shortage(number: int) -> str:
    return {
        errno.EAGAIN: "no more processes may be started (limit of processes of this user or container)",
        errno.ENOMEM: "not enough memory to start a process",
        errno.EMFILE: "too many open files (limit of taskrun's own process)",
        errno.ENFILE: "too many open files (limit of the whole system)",
    }[number]


def _missing(name: str, program: str, cwd: str, number: int) -> LaunchFailed:
    """ENOENT: the program, or what its first line or its ELF header names."""
    if not os.path.lexists(program):
        where = f" (looked for in {cwd})" if not os.path.isabs(name) else ""
        return LaunchFailed("not-found", number, f"{name}: no such file{where}")
    if not os.path.exists(program):
        return LaunchFailed("not-found", number, f"{name} is a link to {os.readlink(program)}, which does not exist")
    interpreter = _interpreter(program)
    if interpreter is None:
        why = "the loader that it was linked for does not exist here (built for another system or C library?)"
        return LaunchFailed("not-executable", number, f"{name}: {why}")
    ends = "; its lines end in CRLF, they must end in LF" if interpreter.endswith("\r") else ""
    return LaunchFailed("not-executable", number, f"{name}: its interpreter {interpreter!r} does not exist{ends}")


def _denied(name: str, program: str) -> LaunchFailed:
    """EACCES: of the program, of a folder on its way, of its interpreter, or of the mount."""
    if os.path.isdir(program):
        return LaunchFailed("not-executable", errno.EACCES, f"{name} is a folder, not a program")
    if not os.path.isfile(program) and os.path.exists(program):
        return LaunchFailed("not-executable", errno.EACCES, f"{name} is not a regular file")
    if os.path.isfile(program) and not os.access(program, os.X_OK):
        return _not_executable(name, program)
    interpreter = _interpreter(program)
    if interpreter and not os.access(interpreter, os.X_OK):
        why = f"its interpreter {interpreter!r} is not executable"
        return LaunchFailed("not-executable", errno.EACCES, f"{name}: {why}")
    return LaunchFailed("not-executable", errno.EACCES, f"{name}: permission denied")


def _not_executable(name: str, program: str) -> LaunchFailed:
    """The file is there, and may not be run: by its mode, its owner, or its mount."""
    shown = name if name == program else f"{name} ({program})"
    try:
        mode = os.stat(program).st_mode & 0o7777
        noexec = bool(os.statvfs(program).f_flag & os.ST_NOEXEC)
    except (OSError, AttributeError):
        mode, noexec = 0, False
    if not mode & 0o111:
        why = f"is not executable (mode {mode:04o}); chmod +x makes it so"
    elif noexec:
        why = "is on a file system mounted with noexec"
    else:
        why = f"may not be run by this user (mode {mode:04o})"
    return LaunchFailed("not-executable", errno.EACCES, f"{shown} {why}")


def _head(program: str) -> bytes:
    """Its first bytes; of a FIFO or a device none, since opening or reading it could take for ever."""
    try:
        fd = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 512) if os.path.isfile(program) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _interpreter(program: str) -> str | None:
    """What its ``#!`` line names, a final CR included; ``None``: it has no such line."""
    head = _head(program)
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].lstrip(b" \t")
    words = line.replace(b"\t", b" ").split(b" ", 1)
    return os.fsdecode(words[0])


def _not_a_program(program: str) -> str:
    head = _head(program)
    if not head:
        return "the file is empty"
    if head.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ")):
        return "it was built for another kind of machine, or is damaged"
    if b"\0" in head:
        return "its format is not known to this system"
    return "a script must begin with a line such as #!/bin/sh"


def _too_long(argv: list[str], env: dict[str, str]) -> str:
    arguments = [len(os.fsencode(word)) + 1 for word in argv]
    variables = {name: len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in env.items()}
    total = sum(arguments) + sum(variables.values()) + 8 * (len(arguments) + len(variables) + 2)
    text = f"arguments and environment are too long: {total / 1e6:.1f} MB"
    if arguments and max(arguments) > _ONE_ARGUMENT:
        return f"{text}; one argument has {max(arguments) - 1:,} bytes, at most {_ONE_ARGUMENT - 1:,} are possible"
    if variables and max(variables.values()) > _ONE_ARGUMENT:
        longest = max(variables, key=lambda name: variables[name])
        return f"{text}; the variable {longest} alone is longer than {_ONE_ARGUMENT - 1:,} bytes"
    return f"{text}; the limit is {_argument_limit() / 1e6:.1f} MB"


def _argument_limit() -> int:
    try:
        return os.sysconf("SC_ARG_MAX")
    except (OSError, ValueError):
        return 2 << 20
