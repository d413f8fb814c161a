#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Programs that behave rightly on the kernel's userfaultfd and are kept beside the project, not in it: a directory with
a command `run FAULTLINE [NAME...]`, which prints a row for each, how it ended on the kernel and how under faultline
in each mode. Every row must be as its kernel column. Where the directory is not there, the test says so and is
skipped.

Usage: cases.py FAULTLINE DIRECTORY     FAULTLINE_CASES=dir is another directory
"""

import os
import subprocess
import sys

sys.dont_write_bytecode = True
from tap import Tap  # noqa: E402


def rows(faultline, run, names=()):
    """The name and the columns of each row: those of faultline's modes are after the kernel's."""
    with subprocess.Popen([run, faultline, *names], stdout=subprocess.PIPE, text=True) as p:
        modes = len(p.stdout.readline().split()) - 1
        for line in p.stdout:
            words = line.split()
            yield " ".join(words[:-modes]), words[-modes:]


def same(columns):
    return len(set(columns)) == 1


def main():
    faultline = os.path.abspath(sys.argv[1])
    run = os.path.join(os.environ.get("FAULTLINE_CASES", sys.argv[2]), "run")
    if not os.access(run, os.X_OK):
        Tap.skip_all(f"there is no {run}")
    if os.geteuid() != 0:
        Tap.skip_all("they need root")
    tap = Tap()
    for name, columns in rows(faultline, run):
        if not same(columns):  # they have time limits, which a busy machine may reach
            tap.note(f"{name}: {' '.join(columns)}; once more")
            columns = dict(rows(faultline, run, [name.split()[0]])).get(name, columns)
        if set(columns) == {"skip"}:
            tap.skip(name, "it cannot run here")
        else:
            tap.result(same(columns), name, f"kernel, then faultline's modes: {' '.join(columns)}")
    tap.end()


main()
