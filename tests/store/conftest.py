"""Databases for the journal's tests: a SQLite file, and Debian's PostgreSQL on loopback where it is installed."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, less the database's name."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian and Ubuntu: apt-get install postgresql)")
    pytest.importorskip("asyncpg")
    programs = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="polymnia-postgres-"))
    account = {}
    if os.geteuid() == 0:  # initdb refuses to run as root
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str) -> None:
        # Not a pipe: the server inherits it and would keep it open.
        with (folder / "output").open("a") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd=folder, timeout=60, **account)  # type: ignore[call-overload]

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
    settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    run(str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
    yield f"postgresql://tester@127.0.0.1:{port}"
    run(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/polymnia.db"


@pytest.fixture
def postgres_url(postgres: str) -> str:
    return emptied(postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def emptied(server: str) -> str:
    """The one database of all tests, as it was new: quicker than a new one."""
    import asyncpg

    async def empty() -> None:
        connection = await asyncpg.connect(f"{server}/postgres")
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.execute("drop schema public cascade; create schema public")
        await connection.close()

    asyncio.run(empty())
    return f"{server}/postgres"
