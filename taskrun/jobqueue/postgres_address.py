"""Where a queue on a PostgreSQL server is, and how that is said: whatever happens, no password is in a message.

It imports the optional libraries, or says what to install, and connects to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.model import UsageError, Value

if TYPE_CHECKING:
    from typing import Any

_ENCODE = (
    "special characters in a user's name or password must be percent-encoded (@ is %40, / is %2F, : is %3A), "
    "and behind ? may be what libpq knows, such as sslmode"
)
# Of connections over a network: a server that is gone is noticed within half a minute, also where nothing says so.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "taskrun",
    "client_encoding": "utf8",
}


class Address(Value, frozen=True, kw_only=True):
    """A server and a database on it.

    Attributes:
        shown: For messages: without a password.
        parameters: What a connection is made with.
    """

    shown: str
    parameters: dict[str, Any]


def need_libraries() -> None:
    """Refuses to go on without the optional dependencies.

    Raises:
        UsageError: They are not installed.
    """
    try:
        import procrastinate  # noqa: F401 - whether it is there
        import psycopg  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError(
            "a queue on PostgreSQL needs procrastinate and psycopg, which are not installed "
            f"({error}): pip install 'taskrun-cli[postgres]'"
        ) from None


def address_of(url: str) -> Address:
    """Reads a URL; libpq's own complaints would quote it, so they are not passed on.

    Raises:
        UsageError: It cannot be read, or a library is missing.
    """
    need_libraries()
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:
        raise UsageError(f"the address of the queue on PostgreSQL cannot be read: {_ENCODE}") from None
    # What libpq makes of "//user:pa/ss@host" or "//user:pa@ss@host": parts of the password elsewhere.
    ports = str(given.get("port", "")).split(",")
    if "@" in f"{given.get('host', '')}{given.get('dbname', '')}" or not all(not p or p.isdigit() for p in ports):
        raise UsageError(f"the address of the queue on PostgreSQL cannot be read: {_ENCODE}")
    return Address(shown=_shown(given), parameters={**_DEFAULTS, **given})


def _shown(given: dict[str, Any]) -> str:
    user = f"{given['user']}@" if given.get("user") else ""
    host = str(given.get("host") or given.get("hostaddr") or "")
    port = f":{given['port']}" if given.get("port") else ""
    where = "" if host.startswith("/") else host
    folder = f"?host={host}" if host.startswith("/") else ""
    return f"postgresql://{user}{where}{port}/{given.get('dbname') or ''}{folder}"
