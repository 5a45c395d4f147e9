"""The executor passes the kit of every executor."""

from dspex.testing import ExecutorContract
from dspex_processes.executor import ProcessExecutor


class TestProcesses(ExecutorContract):
    def make(self):
        return ProcessExecutor({"workers": 2})
