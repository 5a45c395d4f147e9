"""Stands for `python SCRIPT ARGUMENTS`: a child of the warm Python runs it with what this has, and each ends with the other."""

import json
import os
import signal
import socket
import sys

with socket.socket(socket.AF_UNIX) as child:
    child.connect(sys.argv[1])
    asked = {"words": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ)}  # noqa: PTH109  pathlib takes its time
    told = json.dumps(asked).encode()
    socket.send_fds(child, [len(told).to_bytes(4)], [0, 1, 2])
    child.sendall(told)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send(bytes([number])))
    os.closerange(0, 3)  # the child alone holds the pipes: whoever reads them sees when it dies
    child.recv(1)
