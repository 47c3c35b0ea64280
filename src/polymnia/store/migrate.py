"""Brings a database to this version's tables when it is opened, whoever else opens it at the same time.

Revisions live in `migrations/versions`. There is no way down: a newer database is refused.
"""

import asyncio
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from polymnia.errors import InputError
from polymnia.store.database import Database, explained, place

_FOLDER = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x706F6C79
"""Any number that nobody else takes an advisory lock on."""
_one_at_a_time = asyncio.Lock()
"""Alembic keeps its context in a global."""


async def migrate(url: URL) -> None:
    """Raises `InputError` for a database that is newer, not ours, or cannot be opened."""
    script = ScriptDirectory(str(_FOLDER))
    # Recreating a table, as SQLite's migrations do, must not delete by cascade.
    database = Database(url, foreign_keys=False)
    try:
        with explained(url, InputError):
            async with _one_at_a_time:
                await _migrate(database, script)
    except DBAPIError as error:
        raise InputError(f"{place(url)} holds other tables than Polymnia's: name another database") from error
    finally:
        await database.close()


async def _migrate(database: Database, script: ScriptDirectory) -> None:
    head = script.get_current_head()
    async with database.engine.begin() as connection:
        if await _revision(connection, database.url, script) == head:
            return
    async with database.immediate.begin() as connection:
        if not database.is_sqlite:
            await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        if await _revision(connection, database.url, script) != head:  # another process may have been quicker
            await connection.run_sync(_upgrade, script)


async def _revision(connection: AsyncConnection, url: URL, script: ScriptDirectory) -> str | None:
    found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    if found is not None and found not in {one.revision for one in script.walk_revisions()}:
        raise InputError(f"{place(url)} was written by a newer Polymnia (revision {found}): update this one")
    return found


def _upgrade(connection: Connection, script: ScriptDirectory) -> None:
    environment = EnvironmentContext(Config(), script, fn=lambda current, _: script._upgrade_revs("head", current))
    with environment:
        environment.configure(connection=connection, render_as_batch=True)
        with environment.begin_transaction():
            environment.run_migrations()
