# SPDX-License-Identifier: MIT
"""TAP for the client tests: numbered results, diagnostics, and what they need to run programs under faultline."""

import os
import subprocess
import sys


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def result(self, ok, name, why=""):
        self.count += 1
        self.failed += not ok
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}", flush=True)
        if not ok:
            self.note(why)
        return ok

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    @staticmethod
    def note(text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    @staticmethod
    def skip_all(why):
        print(f"1..0 # SKIP {why}")
        sys.exit(0)

    def end(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)


class Way:
    """A way to run a program: on the kernel, or under faultline with or without guard markers."""

    def __init__(self, name, prefix=(), env=None):
        self.name, self.prefix, self.env = name, list(prefix), env or {}

    def run(self, argv, cpus=None, timeout=600):
        """(status, output); the status is 'timeout' for a program that had to be ended."""
        pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        try:
            p = subprocess.run(self.prefix + argv, env={**os.environ, **self.env}, timeout=timeout, preexec_fn=pin,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired as e:
            return "timeout", (e.stdout or b"").decode(errors="replace")
        return p.returncode, p.stdout.decode(errors="replace")


def ways(faultline):
    """The kernel, then every way to run under faultline."""
    prefix = [faultline, "run", "--deny-kernel", "--"]
    return Way("kernel"), [
        Way("faultline", prefix), Way("faultline without guards", prefix, {"FAULTLINE_GUARD": "off"})]
