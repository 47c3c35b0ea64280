"""The database engine: which database, how it is opened, and what its errors mean to a person.

SQLite (WAL, synchronous=FULL, foreign keys) unless a URL names PostgreSQL. All writes of a process pass
through one lock, so that they never wait for each other inside the database.
"""

import asyncio
import os
import sqlite3
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from polymnia.errors import InputError, PolymniaError
from polymnia.store.errors import StorageError

HOME_VARIABLE = "POLYMNIA_HOME"
BUSY_SECONDS = 30
"""How long SQLite waits for another process's transaction; `?timeout=` in the URL says otherwise."""

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_IMMEDIATE = "polymnia_immediate"


def home() -> Path:
    """The folder of all state: `POLYMNIA_HOME`, or the platform's folder for a user's data."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_data_path("polymnia", appauthor=False)


def database_url(given: str | None = None) -> URL:
    """The URL with its driver: the one given, `database_url` of `config.toml`, or that of `polymnia.db` in `home()`.

    Raises `InputError`.
    """
    given = given or _configured_url()
    if given is None:
        return URL.create(_DRIVERS["sqlite"], database=str(home() / "polymnia.db"))
    try:
        url = make_url(given)
    except ArgumentError:
        raise InputError("the database URL cannot be read: write sqlite:///FILE or postgresql://HOST/NAME") from None
    kind = url.drivername.split("+")[0]
    if kind not in _DRIVERS or url.drivername not in (kind, _DRIVERS[kind]):
        raise InputError(f"{url.drivername} is no database of ours: write sqlite:///FILE or postgresql://HOST/NAME")
    if kind == "sqlite" and (not url.database or url.database == ":memory:"):
        raise InputError("a journal in memory would not outlive its process: write sqlite:///FILE")
    return url.set(drivername=_DRIVERS[kind])


def _configured_url() -> str | None:
    path = home() / "config.toml"
    try:
        url = tomllib.loads(path.read_text(encoding="utf-8")).get("database_url")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): allow reading it") from None
    except ValueError as error:  # bad TOML, or no UTF-8
        raise InputError(f"{path} is not TOML ({error}): correct it") from None
    if url is not None and not isinstance(url, str):
        raise InputError(f'{path}: database_url is no text: write database_url = "postgresql://HOST/NAME"')
    return url


class Database:
    """An open database. `reading` and `writing` are one transaction each and raise `StorageError`."""

    def __init__(self, url: URL, *, foreign_keys: bool = True) -> None:
        self.url = url
        self.engine = _engine(url, foreign_keys)
        self.immediate = self.engine.execution_options(**{_IMMEDIATE: True})
        self._lock = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        with explained(self.url):
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """SQLite's write lock is taken at once: a transaction that read first could not always get it later."""
        async with self._lock:
            with explained(self.url):
                async with self.immediate.begin() as connection:
                    yield connection

    async def close(self) -> None:
        await self.engine.dispose()


def insert_or_ignore(connection: AsyncConnection, table: Any) -> Any:
    """An insert that leaves rows alone whose key is there already."""
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()


def make_folder(url: URL) -> None:
    """The folder of a SQLite file, readable by its owner alone: it holds conversations."""
    if not url.drivername.startswith("sqlite") or url.database is None:
        return
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): set {HOME_VARIABLE} to another folder") from None


def place(url: URL) -> str:
    """How messages name the database; never with its password."""
    return str(url.database) if url.drivername.startswith("sqlite") else url.render_as_string(hide_password=True)


@contextmanager
def explained(url: URL, kind: type[PolymniaError] = StorageError) -> Iterator[None]:
    """Turns what a driver raises into one line; errors of a single row (constraints, values) pass through."""
    try:
        yield
    except DBAPIError as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise kind(f"{place(url)} {reason}") from error
    except OSError as error:  # a PostgreSQL server that is not there
        raise kind(f"{place(url)} cannot be reached ({error.strerror or error}): is the server running?") from error


_SQLITE_REASONS = {
    sqlite3.SQLITE_FULL: "could not be written, the disk is full: free some space, then resume the run",
    sqlite3.SQLITE_READONLY: "is read-only: allow writing to the file and its folder, or set POLYMNIA_HOME",
    sqlite3.SQLITE_PERM: "may not be opened: allow reading and writing it, or set POLYMNIA_HOME",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: allow reading and writing the file and its folder",
    sqlite3.SQLITE_BUSY: "is locked by another program: end it, or try again",
    sqlite3.SQLITE_LOCKED: "is locked by another program: end it, or try again",
    sqlite3.SQLITE_NOTADB: "is no database: move the file away, or name another",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a copy, or move it away to start anew",
    sqlite3.SQLITE_IOERR: "could not be read or written: check the disk, its free space and its limits",
}
_POSTGRES_REASONS = {
    "53": "could not be written, the server is out of disk, memory or connections",
    "25": "is read-only: connect to the primary server",
    "28": "refuses the login: check user and password in the URL",
    "3D": "does not exist: create it with `createdb`",
    "08": "cannot be reached: is the server running?",
    "57": "has been shut down: try again once the server runs",
    "58": "could not be read or written: check the server's disk",
    "42": "has other tables than expected, or allows this user too little",
}


def _reason(error: DBAPIError) -> str | None:
    """None for errors that belong to a row."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE_REASONS.get(code & 0xFF)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _POSTGRES_REASONS.get(state[:2])
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return "has closed the connection: try again once the server runs" if lost else None


def _engine(url: URL, foreign_keys: bool) -> AsyncEngine:
    if not url.drivername.startswith("sqlite"):
        try:
            return create_async_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError:
            raise InputError("PostgreSQL needs one package more: pip install 'polymnia[postgres]'") from None
    engine = create_async_engine(url, connect_args={} if "timeout" in url.query else {"timeout": BUSY_SECONDS})

    # SQLAlchemy's recipe for transactions that begin where they say so, DDL included.
    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA auto_vacuum=FULL")  # counts only while the file is still empty
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


async def seconds(connection: AsyncConnection) -> float:
    """Now, by the one clock that all who share the database see."""
    if connection.dialect.name == "sqlite":  # a file is shared on one machine only
        return time.time()
    return float((await connection.execute(text("select extract(epoch from clock_timestamp())"))).scalar_one())
