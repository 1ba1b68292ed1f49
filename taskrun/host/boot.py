"""Run by path under ``python -I -S``: becomes the host of a program that is not ours to fork."""

import os
import sys


def main() -> None:
    """Arguments: the socket's descriptor, and the soft limit of open files for tasks (or -)."""
    # Behind the standard library, so that nothing which lies beside the package can shadow a module of it.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from taskrun.host.serve import serve

    fd, soft_files = sys.argv[1:]
    serve(int(fd), soft_files=None if soft_files == "-" else int(soft_files), forked=False)


if __name__ == "__main__":
    main()
