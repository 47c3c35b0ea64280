"""What can go wrong with the journal, by who must react; all are `polymnia.errors` and one line each.

InputError
└── RunInUseError     another process works on the run and is alive
RunError
├── StorageError      the database cannot be read or written: disk full, locked, damaged, gone
└── StaleRunError     this process lost the run: another took it over, or it has ended
"""

from polymnia.errors import InputError, RunError


class RunInUseError(InputError):
    pass


class StorageError(RunError):
    pass


class StaleRunError(RunError):
    pass
