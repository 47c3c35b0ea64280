"""What code may try against a sandbox, and what each backend must answer (regular expressions).

docs/sandbox.md lists the same names; a test keeps the two together.
"""

from typing import NamedTuple

IMPORT = "Error"
"""Monty's answer to what is not in it: an error of whatever kind."""


class Escape(NamedTuple):
    name: str
    code: str
    bubblewrap: str
    monty: str = IMPORT


SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
got = libc.{call}
print(got, ctypes.get_errno())
"""

ESCAPES = [
    Escape("network", "import socket\nsocket.create_connection(('1.1.1.1', 80), 2)", "PermissionError"),
    Escape("name lookup", "import socket\nsocket.getaddrinfo('example.org', 80)", "gaierror|PermissionError"),
    Escape(
        "loopback services of this machine",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}')",
        "URLError|PermissionError",
    ),
    Escape("files: read", "open('{secret}').read()", "FileNotFoundError"),
    Escape("files: read the system's", "open('/etc/passwd').read()", "FileNotFoundError", "PermissionError"),
    Escape("files: write to /usr", "open('/usr/x', 'w')", "Read-only file system"),
    Escape("files: write to the root", "open('/x', 'w')", "Read-only file system"),
    Escape("environment", "import os\n'secret' in str(dict(os.environ))", "^False$", "^False$|Error"),
    Escape(
        "fork bomb",
        "import os, time\nfor n in range(1000):\n    if os.fork() == 0:\n        time.sleep(30)",
        "BlockingIOError",
    ),
    Escape("memory bomb", "x = 'x' * 2**33", "MemoryError", "MemoryError"),
    Escape("memory bomb, a growing list", "x = []\nwhile True: x.append('a' * 10**6 + str(len(x)))", "MemoryError"),
    Escape(
        "memory bomb, many processes",
        "import os, time\nfor n in range(4):\n    if os.fork() == 0:\n        break\n"
        "x = bytearray(b'x' * 250 * 2**20)\ntime.sleep(30)",
        "used more than 768 MiB",
    ),
    Escape(
        "disk fill", "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(2**20))", "OSError|stopped|File too large"
    ),
    Escape(
        "disk fill, many files",
        "for n in range(100):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(bytes(2**20))",
        "No space left",
    ),
    Escape("output flood", "while True: print('x' * 1000)", "printed more than 1024 KiB", "TimeoutError"),
    Escape("output flood to stderr", "import os\nwhile True: os.write(2, b'x' * 1000)", "printed more than 1024 KiB"),
    Escape("endless loop", "while True: pass", "stopped|ran longer", "TimeoutError"),
    Escape("sleep", "import time\ntime.sleep(100)", "ran longer than", "Error"),
    Escape(
        "ignoring every signal",
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nwhile True: pass",
        "stopped|ran longer",
    ),
    Escape("signal to the parent", "import os\nos.kill({parent}, 9)", "ProcessLookupError"),
    Escape("signal to all", "import os, signal\nos.kill(-1, signal.SIGTERM)\n'alone'", "'alone'|ProcessLookupError"),
    Escape("user namespace", SYSCALL.format(call="unshare(0x10000000)"), "^-1 1$"),
    Escape("user namespace by clone", SYSCALL.format(call="syscall(56, 0x10000011, 0, 0, 0, 0)"), "^-1 1$"),
    Escape("mount", SYSCALL.format(call="mount(b'x', b'/tmp', b'tmpfs', 0, None)"), "^-1 1$"),
    Escape("ptrace", SYSCALL.format(call="ptrace(0, 0, 0, 0)"), "^-1 1$"),
    Escape("becoming root", "import os\nos.setuid(0)", "PermissionError|Invalid argument"),
    Escape("/proc of others", "import os\nos.path.exists('/proc/{parent}/environ')", "^False$"),
    Escape("/proc of pid 1", "open('/proc/1/environ').read()", "^''$|PermissionError"),
    Escape("symlink out", "import os\nos.symlink('{secret}', '/tmp/l')\nopen('/tmp/l').read()", "FileNotFoundError"),
    Escape(
        "through /proc/1/root",
        "import os\nopen('/proc/1/root/etc/passwd').read()",
        "PermissionError|FileNotFoundError",
    ),
    Escape("device nodes", "import os\nos.mknod('/tmp/d', 0o60666, os.makedev(8, 0))", "PermissionError"),
    Escape("ctypes", "import ctypes\nctypes.string_at(0)", "stopped"),
    Escape(
        "many threads",
        "import threading, time\nfor n in range(100): threading.Thread(target=time.sleep, args=(30,)).start()",
        "RuntimeError: can't start new thread",
    ),
    Escape(
        "a process that stays",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\n'done'",
        "^'done'$",
    ),
    Escape(
        "a forged ending",
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'not json\\n')\n    except OSError: pass\n1",
        "stopped",
    ),
]
