#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""syscalls.py FAULTLINE CLIENT LIBRARY - is the list of `faultline doctor --syscalls` enough?

CLIENT runs a program under a filter that allows given system calls alone; each of the list is also refused in turn.
Prints TAP.
"""
import errno
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
from tap import Tap  # noqa: E402

FAULTLINE, CLIENT, LIBRARY = (os.path.abspath(p) for p in sys.argv[1:4])
# Refused, these do harm that nothing reports: the list says that they are needed.
HARMFUL = {"mincore", "mremap"}
tap = Tap()


def output(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def run(otherwise, allowed, what):
    """(status, stdout, stderr) under faultline, with these calls allowed."""
    numbers = ",".join(map(str, sorted(set(allowed.values()))))
    try:
        p = subprocess.run([CLIENT, "allow", str(otherwise), numbers, FAULTLINE, "run", "--", CLIENT, what],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False,
                           env={**os.environ, "FAULTLINE_PRELOAD": LIBRARY})
    except subprocess.TimeoutExpired:
        return "timeout", "", ""
    return p.returncode, p.stdout, p.stderr


own = {name: int(nr) for name, nr in (line.split() for line in output(CLIENT, "calls").splitlines())}
listed = {}
for line in output(FAULTLINE, "doctor", "--syscalls").splitlines():
    listed[line.split()[0]] = int(line.split()[1])
of_json = json.loads(output(FAULTLINE, "doctor", "--syscalls", "--json"))["syscalls"]
tap.result({n: c["number"] for n, c in of_json.items()} == listed, "--json lists the same", of_json)

got = run("kill", {**own, **listed}, "use")
tap.result(got == (0, "worked\n", ""), "the list is enough", got)
# what the command needs, not the library that it preloads
command = {n: listed[n] for n, c in of_json.items() if c["use"].startswith("`faultline run'")}
for err in errno.ENOSYS, errno.EPERM:
    got = run(err, {**own, **command}, "plain")
    tap.result(got == (7, "plain\n", ""), f"no userfaultfd, only the command's calls: {errno.errorcode[err]}", got)
for name, nr in listed.items():
    if name in HARMFUL:
        tap.result("NEEDED" in of_json[name]["refused"], f"{name} is said to be needed", of_json[name])
        continue
    status, out, err = run(errno.ENOSYS, {n: k for n, k in {**own, **listed}.items() if k != nr}, "use")
    worked = (status, out) == (0, "worked\n")
    tap.result(worked or (status not in (0, 4, "timeout") and "WRONG" not in out), f"without {name}",
               (status, out, err))
tap.end()
