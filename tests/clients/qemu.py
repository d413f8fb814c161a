#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
QEMU, as the distribution built it, uses userfaultfd twice: for postcopy migration (missing pages) and for background
snapshots (write protection). Both are done here on the kernel and under faultline, with the guest's memory private
and in a memfd, and every byte of it is compared with what it must be.

The guest (qemu-guest.S) changes pages of 64 MiB all the time, and keeps the number of changes in memory: what is in
all other pages follows from it. So a stale, lost, torn or swapped page is seen, both in the memory that QEMU saves
and by the guest itself, which checks each page before it changes it.

A postcopy moves the guest while it changes pages, so that the destination begins with pages missing, pages present,
and pages that were present and became stale. A snapshot is read slowly from QEMU into a file while the guest changes
pages, and started in another QEMU: it must have the memory of one moment, and the guest must have continued. The
third case does both to one QEMU.

Where UFFDIO_API does not offer what a case needs, QEMU has to refuse in words, and the case is skipped.

Usage: qemu.py FAULTLINE [CC] [WORD]     only cases that have WORD in their name
"""

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from tap import Tap, ways  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
QEMU = "qemu-system-x86_64"
LIMIT = 180  # seconds, of one thing waited for; it takes two or three

# the guest's numbers, see qemu-guest.S
AREA, PAGES, STEP, MUL_WORD, MUL_PAGE = 0x1000000, 0x4000, 0x2545, 0x9E3779B1, 0x85EBCA6B
STATE, MAGIC = 0x8000, 0x54474C46
PAGE, WORD = 4096, 0xFFFFFFFF
MEMORY = 128 << 20
LOW, HIGH = (0, 0xA0000), (1 << 20, MEMORY)  # what is memory of the PC's first 128 MiB

MIB = 1 << 20
RATE = 24 * MIB  # a second, of pages that move or are saved: slow enough for the guest to be ahead of them

# bits of UFFDIO_API, by the case and the memory that need them
FEATURES = {"PAGEFAULT_FLAG_WP": 0, "MISSING_SHMEM": 5, "WP_HUGETLBFS_SHMEM": 12}
NEEDED = {
    ("postcopy", "anonymous"): [],
    ("postcopy", "memfd"): ["MISSING_SHMEM"],
    ("snapshot", "anonymous"): ["PAGEFAULT_FLAG_WP"],
    ("snapshot", "memfd"): ["PAGEFAULT_FLAG_WP", "WP_HUGETLBFS_SHMEM"],
    ("postcopy, then snapshot", "anonymous"): ["PAGEFAULT_FLAG_WP"],
    ("postcopy, then snapshot", "memfd"): ["MISSING_SHMEM", "PAGEFAULT_FLAG_WP", "WP_HUGETLBFS_SHMEM"],
}
MACHINE = {
    "anonymous": ["-machine", "pc"],
    "memfd": ["-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on", "-machine", "pc,memory-backend=ram"],
}

# userfaultfd(2) as QEMU opens it; prints the features, or the errno
ASK = """
import ctypes, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(323, os.O_CLOEXEC)
if fd < 0:
    print("errno", ctypes.get_errno())
else:
    arg = bytearray(struct.pack("=QQQ", 0xAA, 0, 0))
    fcntl.ioctl(fd, 0xC018AA3F, arg)
    print("features", struct.unpack("=QQQ", arg)[1])
"""


class Refused(Exception):
    """QEMU says that it cannot, in words."""


class Wrong(Exception):
    """What this test is for."""


def wait(what, condition, alive=()):
    """The first true value of condition(), while all that has to live does."""
    end = time.monotonic() + LIMIT
    while True:
        value = condition()
        if value:
            return value
        for qemu in alive:
            qemu.must_live()
        if time.monotonic() > end:
            raise Wrong(f"{what}: not within {LIMIT} s")
        time.sleep(0.01)


def bounded():
    """In a child: it ends with this process, and does not run for ever in any case."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CPU, (5 * LIMIT, 5 * LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Qemu:
    """One QEMU with the guest, talked to by QMP."""

    def __init__(self, place, way, name, ram, *options):
        self.name, self.path = name, lambda what: os.path.join(place, f"{name}.{what}")
        self.stats = self.path("json") if way.prefix else None
        prefix = way.prefix[:-1] + [f"--stats={self.stats}", "--"] if way.prefix else []
        # bounded() again, where faultline's command is between
        argv = prefix + ["setpriv", "--pdeathsig", "KILL", "--", QEMU, "-nodefaults", "-no-user-config",
                         "-display", "none", "-accel", "tcg", "-m", f"{MEMORY // MIB}M", *MACHINE[ram],
                         "-bios", os.path.join(place, "guest"), "-debugcon", "file:" + self.path("console"),
                         "-pidfile", self.path("pid"), "-qmp", f"unix:{self.path('qmp')},server=on,wait=off",
                         *options]
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen(argv, env={**os.environ, **way.env}, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=bounded)
        self.qmp = self.lines = None
        try:
            self.qmp = socket.socket(socket.AF_UNIX)
            self.qmp.settimeout(LIMIT)
            wait(f"{name}: QMP", self.connect, [self])
            self.lines = self.qmp.makefile("rb")
            self.read()
            self.do("qmp_capabilities")
        except BaseException:
            self.end()
            raise

    def connect(self):
        try:
            self.qmp.connect(self.path("qmp"))
        except OSError:
            return False
        return True

    def log(self):
        with open(self.path("log"), encoding="utf-8", errors="replace") as f:
            return f.read().strip()

    def must_live(self):
        """One that ends with status 1, and words, has refused."""
        status = self.process.poll()
        if status is not None:
            kind = Refused if status == 1 and self.log() else Wrong
            raise kind(f"{self.name} ended with status {status}\n{self.log()}")

    def read(self):
        try:
            line = self.lines.readline()
        except OSError as e:
            raise Wrong(f"{self.name}: no answer: {e}\n{self.log()}") from e
        if not line:
            self.process.wait(LIMIT)
            self.must_live()
        return json.loads(line)

    def do(self, command, **arguments):
        message = json.dumps({"execute": command, "arguments": arguments})
        try:
            self.qmp.sendall(message.encode() + b"\n")
        except OSError as e:
            raise Wrong(f"{self.name}: {command}: {e}\n{self.log()}") from e
        while True:
            answer = self.read()
            if "error" in answer:
                raise Refused(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def set_capabilities(self, state, *names):
        self.do("migrate-set-capabilities", capabilities=[{"capability": n, "state": state} for n in names])

    def migration(self, *states):
        """What query-migrate says, if it is in one of the states."""
        info = self.do("query-migrate")
        if info.get("status") in ("failed", "cancelled", "postcopy-paused"):
            raise Refused(f"migration {info['status']}: {info.get('error-desc', '')}\n{self.log()}")
        return info if info.get("status") in states else None

    def save(self, what, start, end):
        path = self.path(what)
        self.do("pmemsave", val=start, size=end - start, filename=path)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        if len(data) != end - start:
            raise Wrong(f"{self.name}: pmemsave wrote {len(data)} bytes for {end - start}")
        return data

    def visits(self):
        """How often the guest has changed a page."""
        return int.from_bytes(self.save("state", STATE + 4, STATE + 8), "little")

    def rounds(self):
        """How often it has changed all of them here: its own words, on the console."""
        with open(self.path("console"), "rb") as f:
            text = f.read()
        if b"E" in text:
            state = [int.from_bytes(self.save("state", at, at + 4), "little") for at in range(STATE, STATE + 20, 4)]
            raise Wrong("%s: the guest sees a wrong word after %d visits: page %#x, word %d, %#x"
                        % (self.name, *state[1:]))
        return text.count(b"\n")

    def run_on(self, rounds=2):
        """The guest, which checks its memory, does so `rounds` times more."""
        until = self.rounds() + rounds + 1
        wait(f"{self.name}: {rounds} rounds of the guest", lambda: self.rounds() >= until, [self])

    def check_memory(self):
        """Every byte of the stopped guest; the number of visits."""
        low, high = self.save("low", *LOW), self.save("high", *HIGH)
        return check_memory(self.name, low, high)

    def end(self):
        """It ends, by good words if possible; its counters, if it ran under faultline."""
        try:
            if self.lines:
                self.qmp.settimeout(10)
                self.do("quit")
            self.process.wait(10)
        except (Refused, Wrong, subprocess.TimeoutExpired):
            pass
        if self.process.poll() is None:
            try:  # the process under faultline's command
                with open(self.path("pid"), encoding="ascii") as f:
                    os.kill(int(f.read()), signal.SIGKILL)
                self.process.wait(5)
            except (OSError, ValueError, subprocess.TimeoutExpired):
                pass
            self.process.kill()
            self.process.wait()
        for f in (self.lines, self.qmp):
            if f:
                f.close()
        try:
            with open(self.stats or "", encoding="utf-8") as f:
                return json.load(f)
        except (OSError, ValueError):
            return None


PATTERN = int.from_bytes(b"".join((w * MUL_WORD & WORD).to_bytes(4, "little") for w in range(PAGE // 4)), "little")
EACH = int.from_bytes(b"\1\0\0\0" * (PAGE // 4), "little")


def guest_page(p, first, last):
    middle = (PATTERN ^ EACH * ((p + 1) * MUL_PAGE & WORD)).to_bytes(PAGE, "little")[4:-4]
    return first.to_bytes(4, "little") + middle + last.to_bytes(4, "little")


def check_memory(name, low, high):
    """All memory against the number of visits that is in it, which is returned. Tells of the first differences."""
    magic, visits = (int.from_bytes(low[STATE + i:STATE + i + 4], "little") for i in (0, 4))
    if magic != MAGIC:
        raise Wrong(f"{name}: the guest's state is not there: {magic:#x}")
    whole, part = divmod(visits, PAGES)  # rounds, and visits of the one that is not at its end
    bad = []
    start = AREA - HIGH[0]
    place = pow(STEP, -1, PAGES)
    for p in range(PAGES):
        have = high[start + p * PAGE:start + (p + 1) * PAGE]
        v = p * place % PAGES
        n = 0 if p & 3 == 3 else whole + (v < part)
        if have == guest_page(p, n, n):
            continue
        if v == part and p & 3 != 3 and have in (guest_page(p, n + 1, n), guest_page(p, n + 1, n + 1)):
            continue  # this visit is being made
        ends = [int.from_bytes(have[i:i + 4], "little") for i in (0, PAGE - 4)]
        bad.append(f"page {p:#x}: visits {ends[0]} and {ends[1]}, expected {n}; "
                   f"{'and the rest is good' if have[4:-4] == guest_page(p, 0, 0)[4:-4] else 'and the rest is bad'}"
                   f"{', all zero' if have == bytes(PAGE) else ''}")
    for what, data in (("below the state", low[:STATE]), ("above the state", low[STATE + 8:]),
                       ("below the area", high[:start]), ("above the area", high[start + PAGES * PAGE:])):
        if data != bytes(len(data)):
            bad.append(f"memory {what} is not zero")
    if bad:
        raise Wrong(f"{name}: {len(bad)} differences after {visits} visits\n" + "\n".join(bad[:5]))
    return visits


class Taker(threading.Thread):
    """Takes what QEMU saves, slowly, and puts it into a file."""

    def __init__(self, address, path):
        super().__init__(daemon=True)
        self.path, self.why, self.size = path, None, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(1)
        self.listener.settimeout(LIMIT)

    def run(self):
        try:
            with self.listener.accept()[0] as s, open(self.path, "wb") as f:
                begin = time.monotonic()
                s.settimeout(LIMIT)
                while data := s.recv(1 << 16):
                    f.write(data)
                    self.size += len(data)
                    time.sleep(max(0.0, begin + self.size / RATE - time.monotonic()))
        except OSError as e:
            self.why = e
        finally:
            self.listener.close()


class Case:
    """What is tested, in one way, with one kind of memory."""

    def __init__(self, place, way, ram):
        self.place, self.way, self.ram = place, way, ram
        self.qemus, self.notes, self.count = [], [], []  # count: (QEMU, counter of faultline that cannot be 0 then)

    def start(self, name, *options):
        self.qemus.append(Qemu(self.place, self.way, name, self.ram, *options))
        return self.qemus[-1]

    def postcopy(self):
        self.move()

    def snapshot(self):
        source = self.start("source")
        self.shoot(source)

    def postcopy_then_snapshot(self):
        """The memory is registered a second time, for the other thing."""
        destination = self.move()
        destination.do("cont")
        self.shoot(destination)

    def move(self):
        """
        The guest goes on in another QEMU, which is returned, stopped. Without the capability postcopy-preempt: QEMU
        7.2 then sends some pages of other blocks as pages of pc.ram (a round that ends right after an urgent page on
        the second connection leaves out the next page's block), and the destination says EEXIST, on any userfaultfd.
        """
        destination = self.start("destination", "-incoming", "defer")
        destination.set_capabilities(True, "postcopy-ram", "postcopy-blocktime")
        destination.do("migrate-incoming", uri="tcp:127.0.0.1:0")
        port = destination.do("query-migrate")["socket-address"][0]["port"]
        source = self.start("source")
        source.set_capabilities(True, "postcopy-ram")
        source.do("migrate-set-parameters", **{"max-bandwidth": 2 * RATE, "max-postcopy-bandwidth": RATE})
        wait("two rounds of the guest", lambda: source.rounds() >= 2, [source])
        source.do("migrate", uri=f"tcp:127.0.0.1:{port}")

        def half_sent():
            info = source.migration("setup", "active")
            return info and info.get("ram", {}).get("transferred", 0) > PAGES * PAGE // 2

        wait("half of the memory is sent", half_sent, self.qemus)
        source.do("migrate-start-postcopy")
        info = wait("the source is done", lambda: source.migration("completed"), self.qemus)
        there = wait("the destination is done", lambda: destination.migration("completed"), self.qemus)
        requests = info["ram"]["postcopy-requests"]
        self.notes.append(f"{requests} pages asked for, the guest waited {there.get('postcopy-blocktime', '?')} ms")
        destination.run_on()
        destination.do("stop")
        left, now = source.check_memory(), destination.check_memory()
        if requests == 0:
            raise Wrong("no page was asked for: nothing was tested")
        if now < left + 2 * PAGES:
            raise Wrong(f"the guest is at {now} visits, and was at {left} before")
        self.count += [(destination, "faults_missing"), (destination, "copies"), (destination, "zeropages")]
        destination.set_capabilities(False, "postcopy-ram", "postcopy-blocktime")
        return destination

    def shoot(self, source):
        """A snapshot of the running guest, and another QEMU that starts with it."""
        source.set_capabilities(True, "background-snapshot")
        taker = Taker(os.path.join(self.place, "taker"), os.path.join(self.place, "snapshot"))
        taker.start()
        source.run_on()
        before = source.visits()
        source.do("migrate", uri="unix:" + os.path.join(self.place, "taker"))
        wait("the snapshot is done", lambda: source.migration("completed"), [source])
        after = source.visits()
        taker.join(LIMIT)
        if taker.is_alive() or taker.why or not taker.size:
            raise Wrong(f"the snapshot did not arrive: {taker.size} bytes, {taker.why}")
        source.run_on()
        source.do("stop")
        source.check_memory()

        restored = self.start("restored", "-S", "-incoming", "exec:cat " + taker.path)
        wait("the snapshot is loaded", lambda: restored.migration("completed"), [restored])
        at = restored.check_memory()
        self.notes.append(f"snapshot of visit {at}, begun at {before}, done at {after}, {taker.size // MIB} MiB")
        if at < before:
            raise Wrong(f"the snapshot is of visit {at}, and was begun at {before}")
        if after < at + PAGES // 8:
            raise Wrong(f"the guest made {after - at} visits while the snapshot was made: nothing was tested")
        restored.do("cont")
        restored.run_on()
        restored.do("stop")
        restored.check_memory()
        self.count += [(source, "faults_wp"), (source, "wp_pages")]


def features(way):
    """(the features that UFFDIO_API offers or None, why not)"""
    status, output = way.run([sys.executable, "-c", ASK])
    words = output.split()
    if status == 0 and words[0] == "features":
        return int(words[1]), ""
    if status == 0 and words[0] == "errno":
        return None, f"userfaultfd: {os.strerror(int(words[1]))}"
    return None, f"status {status}\n{output}"


def run_case(tap, way, offered, what, ram, name):
    missing = [f for f in NEEDED[what, ram] if not offered >> FEATURES[f] & 1]
    why = refused = ""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faultline-qemu-") as place:
        shutil.copy(GUEST, os.path.join(place, "guest"))
        case = Case(place, way, ram)
        try:
            getattr(case, what.replace(", ", "_").replace(" ", "_"))()
        except Refused as e:
            refused = str(e)
        except Wrong as e:
            why = str(e)
        finally:
            stats = {q: q.end() for q in case.qemus}
            logs = "\n".join(f"{q.name}: {q.log()}" for q in case.qemus if q.log())
    notes = case.notes
    if way.prefix and not why and not refused:
        counted = [(q.name, what, stats[q] and stats[q][what]) for q, what in case.count]
        notes.append(", ".join(f"{what} {n}" for _, what, n in counted))
        why = "\n".join(f"{name}: faultline counted no {what}" for name, what, n in counted if not n)
    if refused and missing and not why:
        words = (logs or refused).splitlines()[0]
        tap.skip(name, f"UFFDIO_API offers no {', '.join(missing)} here; QEMU, {words}")
        return
    if tap.result(not why and not refused, name, f"{why or refused}\n{logs}"):
        notes.append(f"{time.monotonic() - begin:.1f} s")
    for note in notes:
        tap.note(note)


def main():
    global GUEST
    faultline, cc = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.environ.get("CC", "cc")
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    tap, (kernel, others) = Tap(), ways(faultline)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is running is ended on the way out
    if not shutil.which(QEMU):
        tap.skip_all(f"{QEMU} is not installed: scripts/install-deps --clients")
    with tempfile.TemporaryDirectory(prefix="faultline-qemu-") as tmp:
        GUEST = os.path.join(tmp, "guest")
        build = subprocess.run([*cc.split(), "-m32", "-nostdlib", "-static",
                                "-Wl,--build-id=none,-Ttext=0,--oformat=binary",
                                "-o", GUEST, os.path.join(HERE, "qemu-guest.S")], capture_output=True, text=True)
        if not tap.result(build.returncode == 0, "the guest is built", build.stderr):
            tap.end()
        for way in [kernel, *others]:
            offered, why = features(way)
            for what, ram in NEEDED:
                name = f"{what}, {ram} memory, {way.name}"
                if only not in name:
                    continue
                if offered is None and way is kernel:
                    tap.skip(name, why)
                elif offered is None:
                    tap.result(False, name, why)
                else:
                    run_case(tap, way, offered, what, ram, name)
    tap.end()


if __name__ == "__main__":
    main()
