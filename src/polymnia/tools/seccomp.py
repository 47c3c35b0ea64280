"""A seccomp filter for code that nobody trusts, assembled as classic BPF (Linux, x86_64 and aarch64).

Denied: what no computation needs and escapes have used (namespaces, mounts, ptrace, keys, bpf, io_uring and
the like), every socket but AF_UNIX, and `clone3`, whose flags a filter cannot see (ENOSYS makes the C library
use `clone`, so threads work). Everything else is allowed: bubblewrap's namespaces do the rest.
"""

import errno
import os
import platform
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Byte offsets in `struct seccomp_data`; of the argument the low half (both machines are little endian)."""
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NEW_NAMESPACES = 0x7E020080
"""All CLONE_NEW* flags."""

# The same on every architecture: they came after the tables were unified.
_NEWER = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
}
# x86_64 and aarch64.
_OLDER = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "kcmp": (312, 272),
    "syslog": (103, 116),
    "personality": (135, 92),
}
_CLONE3 = 435


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    """What the kernel calls the architecture."""
    denied: dict[str, int]
    """System calls by name."""
    clone: int
    socket: int
    highest: int | None = None
    """Numbers from here on belong to another ABI of the same machine (x32)."""


_MACHINES = {
    "x86_64": _Machine(0xC000003E, {name: pair[0] for name, pair in _OLDER.items()} | _NEWER, 56, 41, 0x40000000),
    "aarch64": _Machine(0xC00000B7, {name: pair[1] for name, pair in _OLDER.items()} | _NEWER, 220, 198),
}


def supported() -> bool:
    return platform.machine() in _MACHINES


def program(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`."""
    here = _MACHINES[machine]
    refuse = _step(_RETURN, _ERROR | errno.EPERM)
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, here.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    absent = _step(_RETURN, _ERROR | errno.ENOSYS)
    if here.highest is not None:
        steps += [_step(_IF_AT_LEAST, here.highest, 0, 1), absent]
    for number in sorted(here.denied.values()):
        steps += [_step(_IF_EQUAL, number, 0, 1), refuse]
    steps += [_step(_IF_EQUAL, _CLONE3, 0, 1), absent]
    steps += _on_argument(here.socket, _step(_IF_EQUAL, int(socket.AF_UNIX), 1, 0), refuse)
    steps += _on_argument(here.clone, _step(_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1), refuse)
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def open_program() -> int:
    """A new file descriptor (a memfd) that holds this machine's filter; the caller closes it."""
    return memory_file("seccomp", program(platform.machine()))


def memory_file(name: str, content: bytes) -> int:
    """A file descriptor at the beginning of `content`, which lies in no file system."""
    descriptor = os.memfd_create(name)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _on_argument(number: int, test: bytes, refuse: bytes) -> Sequence[bytes]:
    """For one system call: `test` its first argument, and refuse, or allow when the test skips a step."""
    allow = _step(_RETURN, _ALLOW)
    return [_step(_IF_EQUAL, number, 0, 4), _step(_LOAD, _FIRST_ARGUMENT), test, refuse, allow]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the jumps count the steps to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
