"""What code tries that wants out of its sandbox: for each way the pieces of code, by a name.

They are `str.format`ted with `secret`, a file of the host; `marker`, a file that is not there; `port`, where the host listens;
`pid`, a process of the host; and `socket`, an abstract address. Each prints what it got, or the word of `GOT`.
"""

from collections.abc import Mapping
from types import MappingProxyType

GOT = "ESC" + "APED"  # not one word in the code, so that a traceback which shows the line is no escape

_SHOWN = "'ESC' + 'APED'"

READS: Mapping[str, str] = MappingProxyType(
    {
        "open": "print(open({secret!r}).read())",
        "pathlib": "from pathlib import Path\nprint(Path({secret!r}).read_text())",
        "os.open": "import os\nprint(os.read(os.open({secret!r}, os.O_RDONLY), 100))",
        "climbing": "print(open('../' * 30 + {secret!r}.lstrip('/')).read())",
        "a symlink": "import os\nos.symlink({secret!r}, 'link')\nprint(open('link').read())",
        "a hard link": "import os\nos.link({secret!r}, 'link')\nprint(open('link').read())",
        "the root of this process": "print(open('/proc/self/root' + {secret!r}).read())",
        "the root of the first process": "print(open('/proc/1/root' + {secret!r}).read())",
        "the root of the host's process": "print(open('/proc/{pid}/root' + {secret!r}).read())",
        "the folder of the host's process": "import os\nprint(os.listdir('/proc/{pid}/cwd'))\nprint(" + _SHOWN + ")",
        "a shell": "import subprocess\nprint(subprocess.run(['cat', {secret!r}], capture_output=True).stdout)",
        "os.system": "__import__('os').system('cat ' + {secret!r})",
        "subclasses": (
            "for kind in ().__class__.__base__.__subclasses__():\n"
            "    if kind.__name__ == '_wrap_close':\n"
            "        print(kind.__init__.__globals__['popen']('cat ' + {secret!r}).read())"
        ),
        "chroot": (
            "import os\nos.mkdir('cage')\nhere = os.open('/', os.O_RDONLY)\nos.chroot('cage')\nos.fchdir(here)\n"
            "os.chdir('../' * 30)\nos.chroot('.')\nprint(open({secret!r}).read())"
        ),
        "mounting": (
            "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.unshare(0x10020000)\n"
            "print(libc.mount(b'/proc/1/root', b'/tmp', None, 4096, None))\nprint(open('/tmp' + {secret!r}).read())"
        ),
        "a disk": (
            "import os\nfor name in os.listdir('/dev'):\n    if name[:2] in ('sd', 'vd', 'nv', 'me'):\n"
            "        print(open('/dev/' + name, 'rb').read(1))\n        print(" + _SHOWN + ")"
        ),
        "the user": "import os\nos.setuid(0)\nprint(open('/etc/shadow').read())\nprint(" + _SHOWN + ")",
    }
)

WRITES: Mapping[str, str] = MappingProxyType(
    {
        "open": "open({marker!r}, 'w').write('x')",
        "pathlib": "from pathlib import Path\nPath({marker!r}).write_text('x')",
        "a link to a folder": (
            "import os\nos.symlink(os.path.dirname({marker!r}), 'there')\n"
            "open('there/' + os.path.basename({marker!r}), 'w').write('x')"
        ),
        "through /proc": "open('/proc/1/root' + {marker!r}, 'w').write('x')",
        "taking away": "import os\nos.remove({secret!r})",
        "the system's settings": "open('/proc/sys/kernel/hostname', 'w').write('x')\nprint(" + _SHOWN + ")",
        "the programs": "import sys, os\nopen(os.__file__, 'a').write('x')\nprint(" + _SHOWN + ")",
    }
)

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "os.environ": "import os\nprint(dict(os.environ))",
        "os.getenv": "import os\nprint(os.getenv('DSPEX_ESCAPE'))",
        "of this process": "print(open('/proc/self/environ').read())",
        "of the host": "print(open('/proc/{pid}/environ').read())",
        "of a child": "import subprocess\nprint(subprocess.run(['env'], capture_output=True).stdout)",
    }
)

NETWORK: Mapping[str, str] = MappingProxyType(
    {
        "a socket": "import socket\nprint(socket.create_connection(('127.0.0.1', {port}), 1).recv(100))",
        "a URL": "from urllib.request import urlopen\nprint(urlopen('http://127.0.0.1:{port}/', timeout=1).read())",
        "a shell": (
            "import subprocess\nprint(subprocess.run(['bash', '-c', 'cat < /dev/tcp/127.0.0.1/{port}'], capture_output=True))"
        ),
        "an abstract address": (
            "import socket\nthere = socket.socket(socket.AF_UNIX)\nthere.connect('\\0' + {socket!r})\nprint("
            + _SHOWN
            + ")"
        ),
        "outside": "import socket\nsocket.create_connection(('192.0.2.1', 53), 1)\nprint(" + _SHOWN + ")",
    }
)

PROCESSES: Mapping[str, str] = MappingProxyType(
    {
        "a signal": "import os\nos.kill({pid}, 9)",
        "all processes": "import os\nos.kill(-1, 9)",
        "the parent": "import os\nos.kill(os.getppid(), 9)",
        "memory": "print(open('/proc/{pid}/mem', 'rb').read(1))\nprint(" + _SHOWN + ")",
        "an exit": "import os\nos._exit(0)",
        "SystemExit": "raise SystemExit(0)",
        "a crash": "import ctypes\nctypes.string_at(0)",
        "open descriptors": (
            "import os\nfor there in range(3, 64):\n    try:\n        os.write(there, b'{{\"value\": 5}}\\n' * 100)\n"
            "    except OSError:\n        pass"
        ),
        "closed descriptors": "import os\nos.closerange(0, 64)",
    }
)

BOMBS: Mapping[str, str] = MappingProxyType(
    {
        "forks": "import os\nwhile True:\n    os.fork()",
        "threads": (
            "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
        ),
        "memory, bit by bit": "kept = []\nwhile True:\n    kept.append('x' * 100_000)",
        "memory at once": "kept = [0] * 10**10",
        "a number": "kept = 10 ** 10 ** 9",
        "a deep call": "def deep(n):\n    return deep(n + 1)\ndeep(0)",
        "an endless loop": "while True:\n    pass",
        "a loop that catches": "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
    }
)

FLOODS: Mapping[str, str] = MappingProxyType(
    {
        "endless output": "while True:\n    print('x' * 1000)",
        "a long line": "print('x' * 10_000_000)",
        "a long value": "'x' * 10_000_000",
        "a long error": "raise ValueError('x' * 10_000_000)",
        "a full disk": (
            "import os\nwith open('much', 'wb') as much:\n    for _ in range(100):\n        much.write(b'x' * 10_000_000)\n"
            "print(" + _SHOWN + ")"
        ),
        "full shared memory": (
            "with open('/dev/shm/much', 'wb') as much:\n    for _ in range(100):\n        much.write(b'x' * 10_000_000)\n"
            "print(" + _SHOWN + ")"
        ),
    }
)
