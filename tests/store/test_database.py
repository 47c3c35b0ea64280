"""Opening, migrations, and databases that cannot be used: one clear line each, nothing committed lost."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from polymnia.errors import InputError, PolymniaError
from polymnia.store import StorageError, Store, open_store
from polymnia.store.schema import metadata

SOURCE = Path(__file__).resolve().parents[2] / "src"


async def create(url: str) -> str:
    async with await open_store(url) as store:
        return await store.create_run(question="kept?")


def opening(url: str) -> str:
    """The one line that opening ends with."""
    with pytest.raises(InputError) as caught:
        asyncio.run(create(url))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_migrations_make_the_tables_of_the_schema(url: str) -> None:
    async def differences() -> list[object]:
        async with await open_store(url) as store, store._database.reading() as connection:
            return await connection.run_sync(
                lambda sync: list(compare_metadata(MigrationContext.configure(sync), metadata))
            )

    assert asyncio.run(differences()) == []


def test_a_second_opening_keeps_what_is_there(url: str) -> None:
    run = asyncio.run(create(url))

    async def listed() -> list[str]:
        async with await open_store(url) as store:
            return [one.run for one in await store.list_runs()]

    assert asyncio.run(listed()) == [run]


def test_sqlite_is_set_up_to_survive_a_power_cut(sqlite_url: str) -> None:
    async def pragma(store: Store, name: str) -> object:
        async with store._database.reading() as connection:
            return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()

    async def check() -> None:
        async with await open_store(sqlite_url) as store:
            assert await pragma(store, "journal_mode") == "wal"
            assert await pragma(store, "synchronous") == 2  # FULL
            assert await pragma(store, "foreign_keys") == 1
            assert await pragma(store, "busy_timeout") == 30_000

    asyncio.run(check())


def test_a_newer_database_is_refused(url: str) -> None:
    async def age() -> None:
        async with await open_store(url) as store, store._database.writing() as connection:
            await connection.execute(text("update alembic_version set version_num = '9999'"))

    asyncio.run(age())
    assert "was written by a newer Polymnia (revision 9999): update this one" in opening(url)


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("create table runs (distance real)")
        other.execute("insert into runs values (42.195)")
    other.close()
    assert "holds other tables than Polymnia's: name another database" in opening(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        assert other.execute("select * from runs").fetchall() == [(42.195,)]
        assert other.execute("select name from sqlite_master").fetchall() == [("runs",)]
    other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for the header of one " * 20)
    assert opening(f"sqlite:///{path}") == f"{path} is no database: move the file away, or name another"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "polymnia.db"
    asyncio.run(create(f"sqlite:///{path}"))
    content = bytearray(path.read_bytes())
    content[100:] = b"\xaa" * (len(content) - 100)
    path.write_bytes(content)
    assert "is damaged: restore it from a copy" in opening(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "mysql is no database of ours: write sqlite:///FILE or postgresql://HOST/NAME"),
        ("nonsense", "the database URL cannot be read"),
        ("sqlite://", "would not outlive its process"),
        ("sqlite+pysqlite:///x.db", "is no database of ours"),
    ],
)
def test_urls_that_cannot_be_used(url: str, message: str) -> None:
    assert message in opening(url)


def test_a_server_that_is_not_there() -> None:
    line = opening("postgresql://someone:secret@127.0.0.1:9/polymnia")
    assert "cannot be reached" in line
    assert "secret" not in line


def test_a_postgres_database_that_is_not_there(postgres: str) -> None:
    assert "does not exist: create it with `createdb`" in opening(f"{postgres}/nobody_made_it")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be made" in opening(f"sqlite:///{tmp_path}/file/below/polymnia.db")


def test_a_locked_database_loses_nothing_and_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "polymnia.db"

    async def check() -> None:
        async with await open_store(f"sqlite:///{path}?timeout=0.1") as store:
            run = await store.create_run(question="?")
            log = await store.acquire(run)
            await log.emit({"number": 0})
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="is locked by another program: end it, or try again"):
                await log.emit({"number": 1})
            other.execute("ROLLBACK")
            other.close()
            assert log.stop.is_set()
            with pytest.raises(StorageError):  # nothing is written behind what is missing
                await log.emit({"number": 2})
            log = await store.acquire(run)
            assert await log.emit({"number": 1}) == 1
            await log.finish("finished")
            assert [event["number"] async for event in store.read_from(run)] == [0, 1]
            assert await store.check_integrity() == []

    asyncio.run(check())


FILLING = """
import asyncio, resource, sys
from polymnia.errors import PolymniaError
from polymnia.store import open_store

async def main():
    async with await open_store(sys.argv[1]) as store:
        log = await store.acquire(await store.create_run(question="?", run="filling"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        for number in range(100_000):
            await log.emit({"number": number, "text": "x" * 3000})
            print(number, flush=True)

try:
    asyncio.run(main())
except PolymniaError as error:
    print(type(error).__name__, error)
"""


def test_a_disk_that_fills_up_loses_nothing_that_was_committed(sqlite_url: str) -> None:
    """A limit on the size of files, since a test cannot fill a disk: SQLite meets both in the same place."""
    command = [sys.executable, "-W", "error", "-c", FILLING, sqlite_url]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    *committed, last = done.stdout.splitlines()
    assert last.startswith("StorageError")
    assert "check the disk, its free space and its limits" in last
    assert len(committed) > 10

    async def check() -> None:
        async with await open_store(sqlite_url) as store:
            assert await store.check_integrity() == []
            assert (await store.get_run("filling")).state == "interrupted"
            log = await store.acquire("filling")
            await log.finish("finished")
            stored = [event["number"] async for event in store.read_from("filling")]
            assert stored[: len(committed)] == list(range(len(committed)))

    asyncio.run(check())


def test_a_full_database_says_so(sqlite_url: str) -> None:
    async def check() -> None:
        async with await open_store(sqlite_url) as store:
            log = await store.acquire(await store.create_run(question="?"))
            async with store._database.engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                await raw.execute("PRAGMA max_page_count=1")  # of this connection, which is the only one
            with pytest.raises(StorageError, match="the disk is full: free some space, then resume the run"):
                await log.emit({"text": "x" * 100_000})

    asyncio.run(check())


OPENING = """
import asyncio, os, sys
import polymnia.store
from polymnia.errors import PolymniaError
from polymnia.store import open_store

async def main(url):
    async with await open_store(url) as store:
        await store.create_run(question="?")

asyncio.run(main(sys.argv[1]))  # imports what only root may read
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
if not os.access(polymnia.store.__file__, os.R_OK):
    sys.exit("Permission denied")
try:
    asyncio.run(main(sys.argv[2]))
except PolymniaError as error:
    print(type(error).__name__, error)
"""


def test_a_read_only_database_is_named(sqlite_url: str) -> None:
    """In a process without rights, since root may write anywhere."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "polymnia.db"
        asyncio.run(create(f"sqlite:///{path}"))
        path.chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", OPENING, sqlite_url, f"sqlite:///{path}"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        if "Permission denied" in done.stderr:
            pytest.skip("the source cannot be read by another user")
        assert done.stderr == ""
        assert f"{path} is read-only: allow writing" in done.stdout or f"{path} cannot be opened" in done.stdout
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_an_open_postgres_that_goes_away_is_named(postgres_url: str) -> None:
    """Its connections are ended by the server, as in a restart; the next work finds new ones."""

    async def check() -> None:
        async with await open_store(postgres_url) as store:
            run = await store.create_run(question="?")
            log = await store.acquire(run)
            await log.emit({"number": 0})
            async with await open_store(postgres_url) as other, other._database.engine.connect() as connection:
                await connection.execute(
                    text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where datname = current_database() and pid <> pg_backend_pid()"
                    )
                )
            try:
                seq = await log.emit({"number": 1})
            except PolymniaError:
                log = await store.acquire(run)
                seq = await log.emit({"number": 1})
            assert seq == 1
            assert await store.check_integrity() == []

    asyncio.run(check())


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE)}
