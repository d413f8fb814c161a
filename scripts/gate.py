# SPDX-License-Identifier: MIT
"""gate.py - what the checks of the tree (check-*, draw-imports) have in common.

A gate is a function of the root of a tree that returns a line for every breach. Its self-test keeps how it was seen
to fail: a small tree that is good, breaches to plant in it, and where each must be found.
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SKIP = 77  # as Meson wants it
STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''


def skip(reason):
    print("SKIP: " + reason)
    sys.exit(SKIP)


def files(root):
    """The files of a tree, named from its root: those that git tracks, or all where there is no git."""
    git = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=False) \
        if os.path.exists(os.path.join(root, ".git")) else None
    if git and not git.returncode:
        names = git.stdout.decode().split("\0")[:-1]
    else:
        names = []
        for where, dirs, here in os.walk(root):
            dirs[:] = [d for d in dirs if d not in (".git", "__pycache__") and
                       not (where == root and d.startswith("build"))]
            names += [os.path.relpath(os.path.join(where, name), root) for name in here]
    paths = {name: os.path.join(root, name) for name in sorted(names)}
    return [name for name, path in paths.items() if os.path.isfile(path) and not os.path.islink(path)]


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def is_script(root, path):
    with open(os.path.join(root, path), "rb") as f:
        return f.read(2) == b"#!"


def blank(match):
    """What was matched, in spaces: line numbers stay."""
    return re.sub(r"[^\n]", " ", match[0])


def without_comments(text):
    """C without its comments; strings stay."""
    return re.sub(r"/\*.*?\*/|//[^\n]*|" + STRING, lambda m: blank(m) if m[0][0] == "/" else m[0], text, flags=re.S)


def without_strings(text):
    return re.sub(STRING, lambda m: '"' + blank(m)[1:-1] + '"', text)


def write_tree(root, tree):
    for path, text in tree.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as f:
            f.write(text)


def self_test(check, good, plants):
    """check(root) finds nothing in the tree `good` {path: text}; and with each of plants, (path, text, where), added
    to it, one breach, whose line starts with `where`."""
    failures = []
    for path, text, where in [(None, None, None)] + plants:
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {**good, path: text} if path else good)
            found = check(root)
        if len(found) != (path is not None) or (found and not found[0].startswith(where)):
            failures.append("planted in %s: wanted %s, found %s" % (path, where, found))
    print("\n".join(failures) or "%d planted breaches, each found" % len(plants))
    return 1 if failures else 0


def report(found, good):
    print("\n".join(found) or good)
    return 1 if found else 0
