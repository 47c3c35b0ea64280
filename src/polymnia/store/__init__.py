"""The journal: runs, their finished calls and events, pictures; SQLite, or PostgreSQL by URL.

Layer 1, without torch. It knows nothing of agents: events, arguments and results are JSON to it.
"""

from polymnia.store.database import HOME_VARIABLE, home
from polymnia.store.errors import RunInUseError, StaleRunError, StorageError
from polymnia.store.log import Call, CallResult, Miss, RunLog
from polymnia.store.store import Run, Store, open_store
from polymnia.store.writer import Blob, State

__all__ = [
    "HOME_VARIABLE",
    "Blob",
    "Call",
    "CallResult",
    "Miss",
    "Run",
    "RunInUseError",
    "RunLog",
    "StaleRunError",
    "State",
    "StorageError",
    "Store",
    "home",
    "open_store",
]
