# SPDX-License-Identifier: MIT
"""layers.py - the layers of the source tree, the order inside src/mm, and what uses what there.

A use is an #include, or a symbol of another object file. Which uses are allowed stands here and nowhere else:
check-includes and draw-imports read it.
"""
import collections
import glob
import os
import re
import subprocess

# A directory may use itself, and what stands here: "mm" is all of src/mm, "mm/mmu.h" is one header, "public" is
# include/faultline/. Directories are named from the root, those in src/ without the "src/". Lowest first.
ENGINE = ["arch", "host", "base", "mm", "uffd", "abi", "native", "soft", "lib"]
LAYERS = {
    "include": ["public"],
    "arch": [],
    "host": ["arch"],
    "base": ["public", "arch", "host"],
    "mm": ["public", "host", "base"],
    "uffd": ["public", "host", "base", "mm"],
    "abi": ["public", "host", "base", "mm", "uffd"],
    "native": ["public", "arch", "host", "base", "mm"],
    "soft": ["public", "host", "base", "mm"],
    "lib": ["public"] + ENGINE,
    "preload": ["public"] + ENGINE,
    "tools": ["public", "arch", "host/stats.h", "base/inject.h"],
    "examples": ["public"],
    "tests": ["public"] + ENGINE,
    "bench": ["public"] + ENGINE,
}

# The modules of src/mm, lowest first: a module is NAME.c and NAME.h, and uses only those that stand before it.
MM = ["types", "kind", "mmu", "vma_table", "pte", "right", "pgtable", "folio", "source", "file", "mmap_lock", "zap",
      "guard", "vma", "claim", "protect", "rmap", "swap", "migrate", "fault.h", "huge", "kinds", "uffd_ops",
      "fault", "fill", "munmap", "mprotect", "mremap", "fork", "pagemap", "sample", "check", "mm"]

# Symbols that a lower layer declares, in this header, and a higher one defines: a table that is set at link time.
LINKED = {"fl_uffd_ops": "mm/uffd_ops.h"}

INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')
OBJECT = re.compile(r"src_(%s)_(.*)\.c\.o$" % "|".join(list(LAYERS)))


def layer_of(path):
    """The name in LAYERS of the directory that a file (named from the root) is in; None for other files."""
    parts = path.split("/")
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else None
    return parts[0] if len(parts) > 1 and parts[0] in LAYERS else None


def mm_module(path):
    """The module of a file of src/mm, named from src/: its header may stand lower than the rest."""
    name = os.path.basename(path)
    return name if name in MM else os.path.splitext(name)[0]


def mm_may(user, used):
    """May a module (or the header of one) use another? Both in MM."""
    return MM.index(user) > MM.index(used) or user.split(".")[0] == used.split(".")[0]


class Uses:
    """What uses what: arrows[user, used] are reasons, between rooms: layers, and modules as "mm/NAME"."""

    def __init__(self):
        self.arrows = collections.defaultdict(set)

    def add(self, user, used, reason):
        """Of files, named from src/."""
        a, b = user.split("/")[0], used.split("/")[0]
        if a != b:
            self.arrows[a, b].add(reason)
        elif a == "mm" and mm_module(user) != mm_module(used):
            self.arrows["mm/" + mm_module(user), "mm/" + mm_module(used)].add(reason)


def uses_of_includes(root, uses):
    for path in sorted(glob.glob(os.path.join(root, "src", "*", "*.[ch]"))):
        name = os.path.relpath(path, os.path.join(root, "src"))
        with open(path, encoding="utf-8") as f:
            for line in f:
                m = INCLUDE.match(line)
                if m and m[1] == '"' and os.path.exists(os.path.join(root, "src", m[2])):
                    uses.add(name, m[2], "%s includes %s" % (name, m[2]))


def object_directories(build):
    """Of the libraries: all layers but preload are in the first, so it is asked first."""
    return [os.path.join(build, name) for name in sorted(os.listdir(build), reverse=True)
            if name.startswith("libfaultline") and name.endswith(".p")]


def objects(directories):
    """{file, named from src/: (symbols it defines, symbols it wants)} of the object files there"""
    names = {}
    for path in (p for d in directories for p in sorted(glob.glob(os.path.join(d, "*.o")))):
        m = OBJECT.search(os.path.basename(path))
        if m and "%s/%s.c" % (m[1], m[2]) not in names.values():
            names[path] = "%s/%s.c" % (m[1], m[2])
    found = {name: (set(), set()) for name in names.values()}
    if not names:
        return {}
    run = subprocess.run(["nm", "-P", "-A"] + list(names), capture_output=True, text=True, check=True)
    for line in run.stdout.splitlines():
        path, symbol, kind = re.match(r"(.*\.o): (\S+) (\S)", line).groups()
        if kind in "TDBRVWCU":
            found[names[path]][kind == "U"].add(symbol)
    return found


def uses_of_symbols(files, uses):
    """`files` as of objects()"""
    home = {symbol: name for name, (defined, _) in files.items() for symbol in defined}
    for name, (_, wanted) in files.items():
        for symbol in wanted & home.keys():
            used = LINKED.get(symbol, home[symbol])
            uses.add(name, used, "%s uses %s() of %s" % (name, symbol, used))


def below(layer):
    """All layers that may be used by way of those that a layer may use: a symbol comes by a header of these."""
    found, look = set(), [layer]
    while look:
        new = {name.split("/")[0] for name in LAYERS.get(look.pop(), [])} - found
        found |= new
        look += new
    return found - {layer}


def upward(uses):
    """The reasons for which an arrow runs up: a layer that is not below, a module that MM has later."""
    for (user, used), reasons in sorted(uses.arrows.items()):
        if user.startswith("mm/"):
            good = user[3:] in MM and used[3:] in MM and mm_may(user[3:], used[3:])
        else:
            good = used in below(user)
        if not good:
            yield from sorted(reasons)
