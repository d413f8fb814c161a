#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tool-inject.py FAULTLINE INJECT_CLIENT NAIVE_HANDLER - `faultline run --inject`, from outside. Prints TAP.

The client repeats an operation and prints the result of each try, which must follow from the spec. The points and
errnos come from `--inject list`: a new one without a test here is a failure.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import Tap  # noqa: E402

FAULTLINE, CLIENT, NAIVE = (os.path.abspath(p) for p in sys.argv[1:4])
ERRNO = {"EAGAIN": 11, "EBUSY": 16, "EEXIST": 17, "EFAULT": 14, "EINTR": 4, "EINVAL": 22, "EMFILE": 24, "ENFILE": 23,
         "ENOENT": 2, "ENOMEM": 12, "ENOSPC": 28, "EPERM": 1, "ESRCH": 3}
ENVIRON = {k: v for k, v in os.environ.items() if not k.startswith("FAULTLINE_INJECT")}
MOVED = {"FAULTLINE_IN_PLACE": "off"}  # to the pool, of which most of the engine's own points are
PAGE = 4096
tap = Tap()


def run(specs, *program, options=("--deny-kernel",), env=None):
    """(exit status, stdout, stderr) of a program under faultline with these specs."""
    inject = ["--inject=" + s for s in specs]
    try:
        p = subprocess.run([FAULTLINE, "run", *options, *inject, "--", *program], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=300, check=False, env={**ENVIRON, **(env or {})})
    except subprocess.TimeoutExpired:
        return "timeout", "", ""
    return p.returncode, p.stdout, p.stderr


def same(name, got, want):
    tap.result(got == want, name, "got  %r\nwant %r" % (got, want))


def client(name, specs, args, want, **kwargs):
    """The client, run with these arguments, prints these lines, finds nothing wrong, and says nothing else."""
    same(name, run(specs, CLIENT, *map(str, args), **kwargs), (0, "".join(line + "\n" for line in want), ""))


# ---- every point with every errno ----

GONE = ("ESRCH", "ENOSPC")  # of a process that has gone, the kernel leaves the result alone

# the line of a try that goes well, and of one that fails
TRIES = {
    "userfaultfd": ("ok 0", lambda e: "%s 0" % e),
    "api": ("ok 0", lambda e: "%s 1" % e),  # zeroed
    "register": ("ok 0", lambda e: "%s 1" % e),  # untouched
    "unregister": ("ok 0", lambda e: "%s 0" % e),
    "wake": ("ok 0", lambda e: "%s 0" % e),
    "writeprotect": ("ok 0", lambda e: "%s 0" % e),
    "copy": ("ok %d" % (2 * PAGE), lambda e: "%s %d" % (e, 77 if e in GONE else -ERRNO[e])),
    "zeropage": ("ok %d" % (2 * PAGE), lambda e: "%s %d" % (e, 77 if e in GONE else -ERRNO[e])),
    "continue": ("ok %d" % (2 * PAGE), lambda e: "%s %d" % (e, 77 if e in GONE else -ERRNO[e])),
}

# the options, and which of nine tries fail
WHEN = (("", "x........"), (",times=1", "x........"), (",times=3", "xxx......"), (",after=2", "..x......"),
        (",after=2,times=3", "..xxx...."), (",times=all", "xxxxxxxxx"), (",after=4,times=all", "....xxxxx"))


def listed():
    """The points of --inject list: {name: [errno, ...]}, in order."""
    status, out, err = run(["list"])
    tap.result((status, err) == (0, ""), "--inject list exits 0 and runs nothing", "%s %s" % (status, err))
    points = {}
    for line in out.splitlines():
        m = re.match(r"([a-z_.-]+) {2,}(.*?)(?:: ((?:E[A-Z]+(?:, |$))+))?$", line)
        m = m or re.match(r"([a-z_.-]+) (\S.*?)()$", line)
        if m:
            tap.result(len(m[2]) > 3, "%s has a line of explanation" % m[1], line)
            points[m[1]] = (m[3] or "").split(", ") if m[3] else []
    names = list(points)
    engine = [n for n in names if "." in n]
    same("the operations are listed before the engine's own points", names[-len(engine):], engine)
    return points


def test_every_errno(points):
    for point, errnos in points.items():
        if not errnos:
            continue
        good, fails = TRIES[point]
        for errno in errnos:
            for options, tries in WHEN:
                client("%s=%s%s" % (point, errno, options), ["%s=%s%s" % (point, errno, options)],
                    [point, len(tries), 2],
                       [fails(errno) if t == "x" else good for t in tries])
        client("%s without an errno takes the first" % point, [point], [point, 2, 2], [fails(errnos[0]), good])


def test_tested(points):
    """What has no errnos is named here, below."""
    done = {"read", "copy-short", "zeropage-short", "wake-delay", "message-twice", "alloc.mm", "alloc.vma",
            "alloc.vma_table", "alloc.file", "alloc.cache", "alloc.swap", "swap.read", "alloc.pgtable", "alloc.uffd",
            "alloc.wait", "alloc.frame", "alloc.extent", "host.pool", "host.fill", "host.adopt", "host.keep",
            "host.look",
            "host.maps", "host.mprotect", "host.guard", "host.socket", "host.fork",
            "host.collapse"}
    same("every listed point is tested here", {p for p, e in points.items() if not e} - done, set())


# ---- the others ----

def test_read():
    for options, tries in WHEN:
        for blocks, errno in ((0, "EAGAIN"), (1, "EINTR")):
            client("read%s, %s" % (options, errno), ["read" + options], ["read", len(tries), blocks],
                   ["%s 0" % errno if t == "x" else "ok 0" for t in tries])


def test_short():
    for fill in ("copy", "zeropage"):
        point = fill + "-short"
        client(point + " of 2 pages", [point], [fill, 3, 2], ["EAGAIN %d" % PAGE, "ok %d" % PAGE,
            "ok %d" % (2 * PAGE)])
        client(point + " of 7 pages, twice", [point + ",times=2"], [fill, 4, 7],
               ["EAGAIN %d" % (3 * PAGE), "EAGAIN %d" % (2 * PAGE), "ok %d" % (2 * PAGE), "ok %d" % (7 * PAGE)])
        client(point + " of 700 pages", [point], [fill, 2, 700], ["EAGAIN %d" % (350 * PAGE), "ok %d" % (350 * PAGE)])
        client(point + " of one page", [point + ",after=1"], [fill, 3, 1],
            ["ok %d" % PAGE, "EAGAIN -11", "ok %d" % PAGE])
        client(point + ",times=all never gets over a page", [point + ",times=all"], [fill, 4, 3],
               ["EAGAIN %d" % PAGE, "EAGAIN %d" % PAGE, "EAGAIN -11", "EAGAIN -11"])
        client("%s that fails is not short" % fill, [point, fill + "=ENOMEM"], [fill, 3, 2],
               ["ENOMEM -12", "EAGAIN %d" % PAGE, "ok %d" % PAGE])


def test_delay():
    client("wake-delay of 10 ms", ["wake-delay,times=all"], ["delay", 5, 10], ["ok 1"] * 5)
    for guard in ("auto", "off"):
        client("wake-delay,ms=150, with --guard=%s" % guard, ["wake-delay,ms=150,times=2"], ["delay", 2, 150],
               ["ok 1"] * 2, options=("--deny-kernel", "--guard=" + guard))
    status, out, _ = run(["wake-delay,ms=400,after=1"], CLIENT, "delay", "3", "400")
    same("wake-delay of the second only, and no thread hangs", (status, out.splitlines()[1:2]), (0, ["ok 1"]))
    client("without wake-delay no thread waits long", [], ["delay", 3, 5000], ["ok 0"] * 3)


def test_twice():
    filled, twice = "ok %d" % PAGE, "EEXIST -17"
    for how in ("0", "1"):
        for options, tries in WHEN:
            want = [line for t in tries for line in ([filled, twice] if t == "x" else [filled])]
            client("message-twice%s, by %s" % (options, ("poll", "epoll")[int(how)]), ["message-twice" + options],
                   ["twice", len(tries), how], want)
    client("message-twice, by reads that block", ["message-twice,times=all"], ["twice", 9, 2], [filled, twice] * 9)
    client("message-twice, in one read", ["message-twice,after=1,times=2"], ["batch", 4],
        ["ok 1", "ok 2", "ok 2", "ok 1"])


# ---- the engine's own ----

def test_engine():
    page = "ok %d" % (2 * PAGE)
    client("alloc.frame fails a copy with ENOMEM", ["alloc.frame,times=2"], ["copy", 4, 2],
           ["ENOMEM -12", "ENOMEM -12", page, page])
    client("host.socket fails userfaultfd(2)", ["host.socket,after=1,times=2"], ["userfaultfd", 4],
           ["ok 0", "ENFILE 0", "ENFILE 0", "ok 0"])
    client("alloc.uffd fails userfaultfd(2)", ["alloc.uffd"], ["userfaultfd", 2], ["ENOMEM 0", "ok 0"])
    for spec in ("host.pool", "host.adopt", "host.maps,after=3", "alloc.extent", "alloc.vma", "alloc.vma_table"):
        client("%s fails a registration" % spec, [spec], ["register", 2], ["ENOMEM 1", "ok 0"], env=MOVED)
    client("host.mprotect fails a registration in place", ["host.mprotect"], ["register", 2], ["ENOMEM 1", "ok 0"])
    for after in (1, 2, 5, 8):  # the first of all is the topmost one, of the address space
        for times in ("1", "3", "all"):
            failed = 5 if times == "all" else int(times)
            client("alloc.pgtable,after=%d,times=%s fails WRITEPROTECT of empty memory" % (after, times),
                   ["alloc.pgtable,after=%d,times=%s" % (after, times)], ["mark", 5],
                   ["ENOMEM 0"] * failed + ["ok 0"] * (5 - failed))
    client("host.collapse fails MADV_COLLAPSE", ["host.collapse,times=2"], ["collapse", 4],
        ["ENOMEM 0"] * 2 + ["ok 0"] * 2)
    for spec in ("host.guard", "host.mprotect", "alloc.wait"):
        client("%s shows in nothing" % spec, [spec], ["twice", 2, 0], ["ok %d" % PAGE] * 2, env=MOVED)
    client("an operation's errno comes before the engine's", ["copy=ESRCH", "alloc.frame"], ["copy", 3, 2],
           ["ESRCH 77", "ENOMEM -12", page])


# ---- several specs, threads, processes ----

def test_several():
    page = "ok %d" % PAGE
    want = ["EEXIST -17", "ENOENT -2", "ENOENT -2", page]
    client("--inject twice: one behind the other", ["copy=EEXIST", "copy=ENOENT,times=2"], ["copy", 4, 1], want)
    client("the same in one", ["copy=EEXIST;copy=ENOENT,times=2"], ["copy", 4, 1], want)
    client("an option's value may stand by itself", [], ["copy", 2, 1], ["EEXIST -17", page],
           options=("--inject", "copy=EEXIST"))


def test_threads():
    for _ in range(5):
        client("exact with threads", ["copy=EEXIST,after=100,times=333"], ["threads", 250, 8],
            ["ok %d" % (2000 - 333),
                                                                                              "EEXIST 333"])


def test_processes():
    page = "ok %d" % PAGE
    each = "EEXIST -17\n%s\n" % page
    script = "%s copy 2 1; exec %s copy 2 1" % (CLIENT, CLIENT)
    same("each program counts for itself", run(["copy=EEXIST"], "sh", "-c", script), (0, each + each, ""))
    same("one that is started without the environment, too",
         run(["copy=EEXIST"], "env", "-i", CLIENT, "copy", "2", "1"), (0, each, ""))
    client("a forked child goes on from its parent's count", ["copy=EEXIST,times=2"], ["fork", 3],
           ["EEXIST -17", "EEXIST -17", page, "EEXIST -17", page])


def test_environment():
    page = "ok %d" % PAGE
    client("FAULTLINE_INJECT alone", [], ["copy", 2, 1], ["ESRCH 77", page], env={"FAULTLINE_INJECT": "copy=ESRCH"})
    client("--inject in its place", ["copy=EEXIST"], ["copy", 2, 1], ["EEXIST -17", page],
           env={"FAULTLINE_INJECT": "copy=ESRCH"})
    status, out, err = run([], CLIENT, "copy", "2", "1", env={"FAULTLINE_INJECT": "cpoy"})
    same("a bad FAULTLINE_INJECT runs nothing", (status, out, err.count("\n"), "`cpoy'" in err), (125, "", 1, True))
    status, out, err = run([], CLIENT, "copy", "2", "1", env={"FAULTLINE_INJECT": "cpoy"}, options=("--stats",))
    same("and starts nothing to count", (status, out, err.count("\n"), "`cpoy'" in err), (125, "", 1, True))
    library = os.path.join(os.path.dirname(FAULTLINE), "libfaultline-preload.so")
    p = subprocess.run([CLIENT, "userfaultfd", "1"], capture_output=True, text=True, check=False, timeout=300,
                       env={**ENVIRON, "LD_PRELOAD": library, "FAULTLINE_INJECT": "copy,times=0"})
    same("nor does it when the library is preloaded by hand",
         (p.returncode, p.stdout, p.stderr.count("\n"), "times=0" in p.stderr), (125, "", 1, True))


def test_statistics():
    with tempfile.TemporaryDirectory(prefix="faultline-inject-") as where:
        path = os.path.join(where, "stats.json")
        run(["copy=EEXIST,times=3", "alloc.frame"], CLIENT, "copy", "6", "1", options=("--stats=" + path,))
        with open(path, encoding="utf-8") as f:
            same("--stats counts what was injected", json.load(f)["injected"], 4)
    _, _, err = run(["copy"], CLIENT, "copy", "2", "1", options=("--stats",))
    tap.result(" 1  failures injected\n" in err, "and prints it", err)


# ---- bad specs ----

BAD = (("cpoy", "`cpoy'", "copy-short", "message-twice", "alloc.frame"), ("copy=EPERM", "EAGAIN, EEXIST", "`EPERM'"),
       ("copy=", "EAGAIN, EEXIST"), ("copy,times=0", "times=0", "all"), ("copy,after=x", "after=x"), ("", "POINT"),
       ("copy,ms=1", "times=N"), ("copy-short=EAGAIN", "no errno"), ("wake-delay,ms=99999", "10000"),
       ("alloc.frame=ENOMEM", "no errno"), ("copy\n", "`copy?'"), ("copy;", "POINT"), ("list,times=1", "`list'"),
       ("COPY", "did you mean `copy'"), ("copy:EEXIST", "did you mean `copy'"), ("--", "SPEC", "list"))


def test_bad():
    with tempfile.TemporaryDirectory(prefix="faultline-inject-") as where:
        ran = os.path.join(where, "ran")
        for spec, *words in BAD:
            status, out, err = run([spec], "touch", ran)
            ok = (status, out, err.count("\n"), os.path.exists(ran)) == (125, "", 1, False)
            tap.result(ok and err.startswith("faultline: --inject") and all(w in err for w in words),
                       "--inject=%r is refused" % spec, "%s %r" % (status, err))
        status, _, err = run(["copy"] * 9, "touch", ran)
        same("nine specs of a point are refused", (status, err.count("\n"), "at most 8" in err), (125, 1, True))
        status, _, err = run(["copy=EEXIST,times=%d" % i for i in range(1, 400)], "touch", ran)
        same("and more than fits", (status, err.count("\n"), os.path.exists(ran)), (125, 1, False))


# ---- the example of faultline(1) ----

def test_naive_handler():
    fine = (0, "64 pages, all as they should be\n", "")
    bug = (1, "", "naive-handler: UFFDIO_COPY: File exists\n")
    same("the naive handler runs", run([], NAIVE), fine)
    same("the tolerant one runs", run([], NAIVE, "--tolerant"), fine)
    for spec in ("copy=EEXIST", "copy=EEXIST,after=17", "message-twice"):
        same("--inject %s finds the bug of the naive handler" % spec, run([spec], NAIVE), bug)
        same("and the tolerant one lives with it", run([spec], NAIVE, "--tolerant"), fine)
    for spec in ("copy=EEXIST,times=40", "copy,times=40", "copy-short,times=3", "message-twice,times=all",
                 "wake-delay,ms=2,times=all", "alloc.wait,times=9"):
        same("the tolerant one lives with %s" % spec, run([spec], NAIVE, "--tolerant"), fine)


def main():
    points = listed()
    test_tested(points)
    test_every_errno(points)
    for name, test in list(globals().items()):
        if name.startswith("test_") and test not in (test_tested, test_every_errno):
            test()
    tap.end()


if __name__ == "__main__":
    main()
