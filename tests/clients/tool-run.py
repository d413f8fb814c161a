#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tool-run.py FAULTLINE TOOL_RAW BESIDE BESIDE_LIB - the `faultline` command, from outside. Prints TAP.

Each function named test_* is a case; what it raises is its failure, Skip excepted.
"""
import json
import os
import pty
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback

FAULTLINE, RAW, BESIDE, BESIDE_LIB = (os.path.abspath(p) for p in sys.argv[1:5])
NOBODY = 65534
DIR = ""  # a directory of this run's, readable by all


class Skip(Exception):
    """This host cannot show it."""


def run(*args, tool=None, **kwargs):
    kwargs.setdefault("timeout", 300)
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([tool or FAULTLINE, *args], capture_output=True, text=True, check=False, **kwargs)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError("%s: got %r, want %r" % (what or "value", got, want))


def refused(result, status, *words):
    """One clear line, the status, and nothing run."""
    equal(result.returncode, status, "exit status (%s)" % result.stderr)
    equal(result.stdout, "", "stdout")
    if not result.stderr.startswith("faultline") or any(w not in result.stderr for w in words):
        raise AssertionError("stderr %r has not all of %r" % (result.stderr, words))
    if status >= 126:
        equal(result.stderr.count("\n"), 1, "lines on stderr")


def in_dir(name, text=None, mode=0o755, copy=None):
    path = os.path.join(DIR, name)
    if copy:
        shutil.copyfile(copy, path)
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    os.chmod(path, mode)
    return path


def need_root():
    if os.getuid() != 0:
        raise Skip("needs root")


def need_suid():
    need_root()
    if os.statvfs(DIR).f_flag & os.ST_NOSUID:
        raise Skip("the file system ignores set-uid")


def true_program():
    return os.path.realpath(shutil.which("true"))


# ---- the command line ----

def test_version():
    r = run("--version")
    equal(r.returncode, 0)
    equal(r.stdout.split()[0], "faultline")


def test_help():
    for command in ([], ["run"], ["doctor"]):
        r = run(*command, "--help")
        equal(r.returncode, 0, "faultline %s --help" % command)
        assert "Usage: faultline" in r.stdout, r.stdout
    assert "--deny-kernel" in run("run", "--help").stdout


def test_other_ways_to_ask():
    equal(run("version").stdout, run("--version").stdout)
    for args, same in ((["-h"], ["--help"]), (["help"], ["--help"]), (["help", "run"], ["run", "--help"]),
                       (["help", "doctor"], ["doctor", "--help"]), (["run", "-h"], ["run", "--help"]),
                       (["doctor", "-h"], ["doctor", "--help"]), (["help", "walk"], ["--help"])):
        r = run(*args)
        equal(r.returncode, 0, "faultline %s" % args)
        equal(r.stdout, run(*same).stdout, "faultline %s" % args)
    equal(run("run", "echo", "-h").stdout, "-h\n")
    assert ",ms=N" in run("run", "--help").stdout


def test_a_program_without_run():
    refused(run("stress-ng", "--userfaultfd", "1"), 2, "no such command: stress-ng", "faultline run -- stress-ng")


def test_bad_command_line():
    for args in ([], [""], ["walk"], ["--walk"], ["-x"], ["doctor", "--walk"], ["doctor", "x"],
                 ["doctor", "--json=1"]):
        refused(run(*args), 2)


def test_bad_run_command_line():
    for args in ([], ["--"], ["--walk", "true"], ["--guard", "true"], ["--guard=", "true"], ["--guard=on", "true"],
                 ["--stats=", "true"], ["--deny-kernel=1", "true"], ["-\x01\xff", "true"]):
        refused(run("run", *args), 125)


def test_the_programs_options_are_its_own():
    equal(run("run", "echo", "--stats", "--", "--help").stdout, "--stats -- --help\n")
    equal(run("run", "--", "echo", "-n", "--deny-kernel").stdout, "--deny-kernel")


# ---- what cannot run ----

def test_not_found():
    refused(run("run", "no-such-program"), 127, "no-such-program", "PATH")
    refused(run("run", "./no/such"), 127, "./no/such")
    refused(run("run", ""), 127)
    refused(run("run", "true", env={"PATH": DIR}, tool=FAULTLINE), 127, "true")


def test_not_executable():
    refused(run("run", DIR), 126, "not a file")
    refused(run("run", in_dir("plain", "text", 0o644)), 126, "Permission denied")
    refused(run("run", "plain2", env={"PATH": os.path.dirname(in_dir("plain2", "text", 0o644))}), 126, "plain2")


def test_not_a_program():
    refused(run("run", in_dir("text", "echo hello\n")), 126, "neither an ELF program nor a script", "sh ")
    refused(run("run", in_dir("empty", "")), 126, "neither")
    in_dir("short", "\x7fELF")
    refused(run("run", os.path.join(DIR, "short")), 126, "neither")
    path = in_dir("object", copy=true_program())
    with open(path, "r+b") as f:
        f.seek(16)
        f.write(struct.pack("=H", 1))  # ET_REL
    refused(run("run", path), 126, "not a program")


def test_program_that_is_cut_off():
    path = in_dir("cut", copy=true_program())
    os.truncate(path, 100)
    refused(run("run", path), 126, "cut off")


def test_other_machine():
    path = in_dir("other", copy=true_program())
    with open(path, "r+b") as f:
        f.seek(18)
        f.write(struct.pack("=H", 243))
    refused(run("run", path), 126, "riscv")
    with open(path, "r+b") as f:
        f.seek(4)
        f.write(b"\x01")
        f.seek(18)
        f.write(struct.pack("=H", 3))
    refused(run("run", path), 126, "32-bit", "i386", "no others")


def elf_interp(path):
    """(offset of PT_INTERP's header, offset of the name, its length)"""
    with open(path, "rb") as f:
        data = f.read()
    phoff, = struct.unpack_from("=Q", data, 32)
    size, count = struct.unpack_from("=HH", data, 54)
    for i in range(count):
        at = phoff + i * size
        if struct.unpack_from("=I", data, at)[0] == 3:
            return at, *struct.unpack_from("=Q", data, at + 8), struct.unpack_from("=Q", data, at + 32)[0]
    raise AssertionError("no PT_INTERP in %s" % path)


def test_static_header():
    path = in_dir("nointerp", copy=true_program())
    with open(path, "r+b") as f:
        f.seek(elf_interp(path)[0])
        f.write(struct.pack("=I", 0))
    refused(run("run", path), 126, "statically linked")


def test_static_program():
    compiler = shutil.which("cc")
    source = in_dir("static.c", "int main(void) { return 0; }\n")
    path = os.path.join(DIR, "static")
    if not compiler or subprocess.run([compiler, "-static", source, "-o", path], capture_output=True,
                                      check=False).returncode:
        raise Skip("no static C library")
    equal(subprocess.run([path], check=False).returncode, 0, "the program by itself")
    refused(run("run", path), 126, "statically linked")
    refused(run("run", "--stats", "--deny-kernel", "--", path), 126, "statically linked")


def test_other_c_library():
    path = in_dir("musl", copy=true_program())
    _, at, size = elf_interp(path)
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(b"/lib/ld-musl-x.so.1".ljust(size, b"\0"))
    refused(run("run", path), 126, "ld-musl-x.so.1", "dynamic loader")


def test_broken_elf():
    for at, value in ((32, 2**63 + 5), (32, 2**62), (32, 0)):
        path = in_dir("broken", copy=true_program())
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(struct.pack("=Q", value))
        refused(run("run", path), 126)


def test_set_uid():
    need_suid()
    path = in_dir("suid", copy=true_program())
    os.chown(path, NOBODY, 0)
    os.chmod(path, 0o4755)
    refused(run("run", path), 126, "set-uid")
    os.chown(path, 0, NOBODY)
    os.chmod(path, 0o2755)
    refused(run("run", path), 126, "set-gid")
    # a script is run by its interpreter, whose bits count
    os.chown(path, NOBODY, 0)
    os.chmod(path, 0o4755)
    refused(run("run", in_dir("suidscript", "#!%s\n" % path)), 126, "set-uid")


def test_set_uid_that_changes_nothing():
    need_suid()
    path = in_dir("suid", copy=true_program())
    os.chown(path, os.getuid(), os.getgid())
    os.chmod(path, 0o6755)
    equal(run("run", "--stats", path).returncode, 0, "attached and run")


def test_file_capabilities():
    need_suid()
    tool = in_dir("tool", copy=FAULTLINE)
    path = in_dir("caps", copy=true_program())
    try:
        os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    except OSError as e:
        raise Skip("no file capabilities here: %s" % e) from e
    refused(run("run", path, tool=tool, user=NOBODY, group=NOBODY, extra_groups=[]), 126, "capabilities")
    # root has them anyway: no secure-execution mode
    equal(run("run", "--stats", path).returncode, 0, "attached and run as root")


def test_library_missing():
    tool = in_dir("tool", copy=FAULTLINE)
    refused(run("run", "true", tool=tool, env={"PATH": os.environ["PATH"]}), 125, "libfaultline-preload.so")
    environ = {**os.environ, "FAULTLINE_PRELOAD": os.path.join(DIR, "nowhere.so")}
    refused(run("run", "true", env=environ), 125, "nowhere.so")
    environ["FAULTLINE_PRELOAD"] = in_dir("text.so", "not a library")
    refused(run("run", "true", env=environ), 125, "text.so", "not a shared library")


# ---- scripts ----

def test_scripts():
    sh = shutil.which("sh")
    inner = in_dir("inner", "#!%s\necho inner $1\n" % sh)
    equal(run("run", inner, "x").stdout, "inner x\n")
    equal(run("run", in_dir("outer", "#! %s outer\n" % inner)).stdout, "inner outer\n")
    equal(run("run", in_dir("env", "#!/usr/bin/env sh\necho env\n")).stdout, "env\n")
    equal(run("run", in_dir("env-s", "#!/usr/bin/env -S A=b sh -e\necho $A\n")).stdout, "b\n")


def test_scripts_that_cannot_run():
    refused(run("run", in_dir("s1", "#!/no/such/interpreter\n")), 126, "No such file")
    refused(run("run", in_dir("s2", "#!\n")), 126, "names no program")
    refused(run("run", in_dir("s3", "#!/usr/bin/env no-such-program\n")), 127, "no-such-program")
    refused(run("run", in_dir("s4", "#!/usr/bin/env -i\n")), 126, "environment")
    loop = os.path.join(DIR, "loop")
    refused(run("run", in_dir("loop", "#!%s\n" % loop)), 126, "too many")


# ---- the environment ----

def preloaded(before, *command):
    """LD_PRELOAD as a program sees it, our library by its file name"""
    environ = {**os.environ, "LD_PRELOAD": before}
    names = run("run", *command, "sh", "-c", "echo $LD_PRELOAD", env=environ).stdout.strip().split(":")
    equal(all(os.path.isabs(n) for n in names if "faultline" in n), True, "absolute path")
    return [os.path.basename(n) for n in names]


def test_library_is_preloaded_last():
    ours = "libfaultline-preload.so"
    equal(preloaded(""), [ours])
    equal(preloaded("libm.so.6"), ["libm.so.6", ours])
    equal(preloaded("libm.so.6 libdl.so.2:"), ["libm.so.6", "libdl.so.2", ours])
    equal(preloaded("libm.so.6", FAULTLINE, "run"), ["libm.so.6", ours], "a command under a command")
    equal(preloaded("libm.so.6", "env", "-u", "LD_PRELOAD"), [ours], "what the program drops stays dropped")
    equal(preloaded("libm.so.6", "env", "LD_PRELOAD=libdl.so.2"), ["libdl.so.2", ours])
    shell = ["sh", "-c", 'LD_PRELOAD=$LD_PRELOAD:libdl.so.2 "$@"', "sh"]
    equal(preloaded("libm.so.6", *shell), ["libm.so.6", "libdl.so.2", ours])


def test_other_libraries_are_called():
    """A library that interposes what we do sees every call that it sees without us, wherever it was put."""
    plain = subprocess.run([BESIDE], env={**os.environ, "LD_PRELOAD": BESIDE_LIB}, capture_output=True, text=True,
                           timeout=300, check=True).stdout
    equal({line.split()[1] for line in plain.splitlines()}, {"1"}, "counts without faultline")
    with_it = {**os.environ, "LD_PRELOAD": BESIDE_LIB}
    equal(run("run", BESIDE, env=with_it).stdout, plain, "before the command")
    equal(run("run", "env", "LD_PRELOAD=" + BESIDE_LIB, BESIDE).stdout, plain, "instead of our library")
    equal(run("run", "sh", "-c", 'LD_PRELOAD="$LD_PRELOAD:$1" exec "$2"', "sh", BESIDE_LIB, BESIDE).stdout, plain,
          "behind our library")


def test_constructors_of_other_libraries_count():
    for where in ("LD_PRELOAD=" + BESIDE_LIB, "LD_PRELOAD=libm.so.6:" + BESIDE_LIB):
        path = os.path.join(DIR, "stats.json")
        r = run("run", "--stats=" + path, "env", "OBJECT=1", where, "true")
        equal((r.returncode, r.stderr), (0, ""))
        with open(path, encoding="utf-8") as f:
            equal(json.load(f)["objects"], 1, "objects")


def test_stats_variable_names_no_file():
    """An ordinary file is neither counted into, nor does its end end the program."""
    path = os.path.join(DIR, "counters")
    equal(run("run", "--stats=/dev/null", "sh", "-c", 'cat "$FAULTLINE_STATS" >"$1"', "sh", path).returncode, 0)
    with open(path, "rb+") as f:
        before = f.read()
        for name in (path, "/proc/self/fd/%d" % f.fileno(), "/proc/../" + path, "/proc/1/fd/../../../" + path):
            keep = {"env": {**os.environ, "FAULTLINE_STATS": name}, "pass_fds": [f.fileno()]}
            equal(run("run", "true", **keep).returncode, 0, name)
            f.seek(0)
            equal(f.read() == before, True, "the file, named " + name)
            equal(run("run", "sh", "-c", ': >"$1"; (true); cat /dev/null', "sh", path, **keep).returncode, 0, name)
            f.seek(0)
            equal(f.read(), b"", "the file, cut off, named " + name)
            f.write(before)
            f.flush()


def test_stats_variable_opens_no_device():
    fifo = os.path.join(DIR, "fifo")
    os.mkfifo(fifo)
    for name in (fifo, "/dev/tty", "/dev/stdin", "/proc/self/fd/0", "/proc/self/mem", "", "/", "/proc/1/fd/"):
        r = run("run", "true", env={**os.environ, "FAULTLINE_STATS": name}, timeout=60)
        equal((r.returncode, r.stdout, r.stderr), (0, "", ""), name)


def test_an_ignored_sigsegv_stays_ignored():
    """exec(2): signals that are ignored stay so; a handler does not stay."""
    python = [sys.executable, "-c"]
    ask = "import signal; print(signal.getsignal(signal.SIGSEGV).name)"
    ways = {"execve": "os.execv(sys.executable, args)",
            "spawn": "os.waitpid(os.posix_spawn(sys.executable, args, os.environ), 0)",
            "spawn by default": "os.waitpid(os.posix_spawn(sys.executable, args, os.environ, setsigdef=[11]), 0)",
            "fork": "os.fork() and (os.wait(), os._exit(0)); os.execve(sys.executable, args, {})"}
    for action in ("SIG_IGN", "SIG_DFL"):
        for way, call in ways.items():
            program = ("import os, signal, sys; signal.signal(signal.SIGSEGV, signal.%s); args = [sys.executable] + "
                       "['-c', sys.argv[1]]; " % action) + call
            plain = run("-c", program, ask, tool=sys.executable).stdout
            equal(run("run", *python, program, ask).stdout, plain, "%s, %s" % (way, action))
    variables = "import os; print([v for v in os.environ if v.startswith('FAULTLINE_')])"
    program = ("import os, signal, sys; signal.signal(11, signal.SIG_IGN); "
               "os.execv(sys.executable, ['p', '-c', sys.argv[1]])")
    equal(run("run", *python, program, variables).stdout.strip(), "[]", "variables that the program sees")


def test_guard_option():
    echo = ["sh", "-c", "echo ${FAULTLINE_GUARD-unset}"]
    environ = {k: v for k, v in os.environ.items() if k != "FAULTLINE_GUARD"}
    for option, inherited, seen in ((None, None, "unset"), (None, "off", "off"), ("off", None, "off"),
                                    ("auto", "off", "unset")):
        e = {**environ, "FAULTLINE_GUARD": inherited} if inherited else environ
        equal(run("run", *(["--guard=" + option] if option else []), *echo, env=e).stdout, seen + "\n", option)


def test_descriptors_and_masks_are_inherited_as_they_were():
    script = "ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign)' /proc/self/status"
    plain = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    for options in ([], ["--stats=" + os.path.join(DIR, "fds")]):
        equal(run("run", *options, "sh", "-c", script).stdout, plain, str(options))


def test_ignored_signals_stay_ignored():
    script = "kill -HUP $$; echo alive"
    for options in ([], ["--stats"]):
        r = run("run", *options, "sh", "-c", script, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        equal(r.stdout, "alive\n", str(options))


# ---- how it ends ----

WAYS = ([], ["--stats"], ["--deny-kernel"], ["--deny-kernel", "--stats", "--guard=off"])


def test_exit_status():
    for way in WAYS:
        for status in (0, 1, 3, 125, 126, 255):
            equal(run("run", *way, "sh", "-c", "exit %d" % status).returncode, status, str(way))


def default_signals():
    """What is ignored when a shell starts, as by nohup, it cannot trap."""
    for sig in ("TERM", "HUP", "USR1", "USR2", "INT", "QUIT"):
        signal.signal(signal.Signals["SIG" + sig], signal.SIG_DFL)


def test_death_by_signal():
    for way in WAYS:
        for sig in ("TERM", "KILL", "SEGV", "ABRT", "INT", "QUIT", "USR1", "PIPE"):
            r = run("run", *way, "sh", "-c", "ulimit -c 0; kill -%s $$" % sig, preexec_fn=default_signals)
            equal(r.returncode, -signal.Signals["SIG" + sig], "%s %s" % (way, sig))


def test_the_tool_leaves_no_core():
    def allow_cores():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

    p = subprocess.Popen([FAULTLINE, "run", "--stats", "sh", "-c", "ulimit -c 0; kill -ABRT $$"], cwd=DIR,
                         preexec_fn=allow_cores, stderr=subprocess.DEVNULL)
    _, status, _ = os.wait4(p.pid, 0)
    p.returncode = status
    equal(os.WTERMSIG(status), signal.SIGABRT)
    equal(os.WCOREDUMP(status), False, "core dumped")


def test_signals_are_passed_on():
    script = 'trap "exit 7" %s; echo ready; for i in $(seq 200); do sleep 0.05; done'
    for way in WAYS:
        for sig in ("TERM", "HUP", "USR1", "USR2", "INT", "QUIT"):
            with subprocess.Popen([FAULTLINE, "run", *way, "sh", "-c", script % sig], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, preexec_fn=default_signals) as p:
                equal(p.stdout.readline(), b"ready\n")
                p.send_signal(signal.Signals["SIG" + sig])
                equal(p.wait(30), 7, "%s %s" % (way, sig))


INTERRUPTED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready", flush=True)
while (info := signal.sigtimedwait([signal.SIGINT], 20)):
    print("from", info.si_pid, flush=True)
    if info.si_pid:
        break
"""


def test_terminal_interrupt_comes_once():
    """^C on a terminal reaches the program as well as the tool, which must not pass it on a second time."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(FAULTLINE, [FAULTLINE, "run", "--stats=/dev/null", sys.executable, "-c", INTERRUPTED])
    seen = b""

    def read_until(text):
        nonlocal seen
        while text not in seen:
            seen += os.read(fd, 1024)
        seen = seen.split(text, 1)[1]

    try:
        read_until(b"ready")
        for _ in range(20):
            os.write(fd, b"\x03")
            read_until(b"from 0\r\n")  # the terminal's; one that is passed on has the tool's pid
            time.sleep(0.01)
        os.kill(pid, signal.SIGINT)
        read_until(b"from %d\r\n" % pid)
    except OSError as e:  # the program has ended, and the terminal with it
        raise AssertionError("an interrupt was passed on: %r" % seen) from e
    finally:
        os.close(fd)
        os.waitpid(pid, 0)


SIGNALS_ITS_GROUP = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
got = []
for i in range(20):
    os.kill(0, signal.SIGUSR1)
    while (info := signal.sigtimedwait([signal.SIGUSR1], 0.02)):
        got.append(info.si_pid == os.getpid())
print(len(got), all(got))
"""


def test_signals_of_the_program_do_not_come_back():
    r = run("run", "--stats=/dev/null", sys.executable, "-c", SIGNALS_ITS_GROUP, start_new_session=True)
    equal((r.returncode, r.stdout), (0, "20 True\n"))


# ---- --stats ----

OBJECT = "import ctypes, os; ctypes.CDLL(None).syscall({'x86_64': 323, 'aarch64': 282}[os.uname().machine], 0)"


def test_statistics_as_text():
    r = run("run", "--stats", "true")
    equal(r.returncode, 0)
    assert "faultline: statistics\n" in r.stderr and "1  processes\n" in r.stderr, r.stderr
    assert "made no userfaultfd object\n" in r.stderr, r.stderr
    r = run("run", "--stats", sys.executable, "-c", OBJECT)
    assert " 1  userfaultfd objects\n" in r.stderr and "made no" not in r.stderr, r.stderr


def test_statistics_in_a_file():
    path = os.path.join(DIR, "stats.txt")
    r = run("run", "--stats=" + path, "sh", "-c", "cd /; exec true")
    equal((r.returncode, r.stderr), (0, ""))
    with open(path, encoding="utf-8") as f:
        assert "processes\n" in f.read()


def test_statistics_as_json():
    path = os.path.join(DIR, "stats.json")
    equal(run("run", "--stats=" + path, "sh", "-c", "true; exit 4").returncode, 4)
    with open(path, encoding="utf-8") as f:
        stats = json.load(f)
    assert stats["processes"] >= 1, stats
    assert stats["fault_ns"]["count"] >= 0 and "copies" in stats, stats


def test_statistics_that_cannot_be_written():
    refused(run("run", "--stats", "x.json", "--", "true"), 127, "--stats=x.json")
    refused(run("run", "--stats=/no/such/dir/x", "touch", os.path.join(DIR, "ran")), 125, "/no/such/dir/x")
    equal(os.path.exists(os.path.join(DIR, "ran")), False, "the program was not run")
    equal(run("run", "--stats=/dev/full", "sh", "-c", "exit 5").returncode, 5, "status with a full disk")


def test_library_that_does_not_attach():
    """A library that is loaded and never counts stands for one that is not loaded: no silent run on the kernel."""
    compiler = shutil.which("cc")
    if not compiler:
        raise Skip("no compiler")
    library = os.path.join(DIR, "dumb.so")
    subprocess.run([compiler, "-shared", "-o", library, "-x", "c", "/dev/null"], check=True)
    environ = {**os.environ, "FAULTLINE_PRELOAD": library}
    for status, want in ((0, 125), (3, 3)):
        r = run("run", "--stats", "sh", "-c", "exit %d" % status, env=environ)
        equal(r.returncode, want)
        assert "the library was not loaded" in r.stderr, r.stderr


# ---- --deny-kernel ----

def raw(*command):
    r = subprocess.run([*command, RAW], capture_output=True, text=True, timeout=300, check=False)
    equal(r.returncode, 0, "tool-raw")
    return dict(line.split() for line in r.stdout.splitlines())


def test_deny_kernel():
    free = raw()
    denied = raw(FAULTLINE, "run", "--deny-kernel", "--")
    for name, got in denied.items():
        if name in ("fionread", "getpid", "i386-getpid"):
            equal(got, free[name], name)
        elif "userfaultfd" in name:
            equal(got, "none" if got == free[name] == "none" else "EPERM", name)
        elif free["device"] == "ok" or name == "api-on-pipe":
            equal(got, "none" if got == free[name] == "none" else "ENOTTY", name)
        else:
            assert got != "ok", name
    if "ok" not in (free["userfaultfd"], free["device"]):
        raise Skip("the kernel refuses userfaultfd without the filter, too")


def test_without_deny_kernel_nothing_is_filtered():
    equal(raw(FAULTLINE, "run", "--"), raw())


def test_the_filter_is_inherited():
    r = run("run", "--deny-kernel", "--stats", "sh", "-c", "exec sh -c 'grep ^Seccomp: /proc/self/status; %s'" % RAW)
    equal(r.returncode, 0)
    assert "Seccomp:\t2\n" in r.stdout and "\nuserfaultfd EPERM\n" in r.stdout, r.stdout


# ---- doctor ----

def test_doctor():
    r = run("doctor")
    equal((r.returncode, r.stderr), (0, ""))
    assert "guard markers" in r.stdout and "faultline works here" in r.stdout, r.stdout


def test_doctor_json():
    r = run("doctor", "--json")
    equal(r.returncode, 0)
    answer = json.loads(r.stdout)
    equal(answer["works"], True)
    equal(answer["checks"]["userfaultfd"]["state"] == "ok", raw()["userfaultfd"] == "ok", "the system call")
    equal(answer["checks"]["device"]["state"] == "ok", raw()["device"] == "ok", "the device")


def test_doctor_sees_the_filter():
    r = run("run", "--deny-kernel", FAULTLINE, "doctor", "--json")
    equal(r.returncode, 0)
    checks = json.loads(r.stdout)["checks"]
    equal((checks["userfaultfd"]["state"], checks["userfaultfd"]["detail"]), ("absent", "EPERM"))
    equal(checks["seccomp"]["detail"], "filtered")


def test_doctor_without_the_library():
    environ = {**os.environ, "FAULTLINE_PRELOAD": '/no/such/"library"'}
    r = run("doctor", "--json", env=environ)
    equal(r.returncode, 1)
    answer = json.loads(r.stdout)
    equal((answer["works"], answer["checks"]["library"]["state"]), (False, "absent"))
    r = run("doctor", env=environ)
    equal(r.returncode, 1)
    assert "REQUIRED" in r.stdout, r.stdout


def limited(what, value):
    return lambda: resource.setrlimit(what, (value, value))


def test_doctor_under_limits():
    """It says that faultline works where a program under it does."""
    for what, value in ((resource.RLIMIT_NOFILE, 5), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_FSIZE, 1 << 20),
                        (resource.RLIMIT_DATA, 10 << 20), (resource.RLIMIT_AS, 1 << 30)):
        r = run("doctor", "--json", preexec_fn=limited(what, value))
        answer = json.loads(r.stdout)
        works = run("run", FAULTLINE, "doctor", "--ask", preexec_fn=limited(what, value)).returncode == 0
        equal(answer["works"], works, "limit %d of %d" % (value, what))
        equal(r.returncode, 0 if works else 1)
        equal(answer["checks"]["trial"]["state"], "ok" if works else "absent")


def test_doctor_with_a_full_disk():
    with open("/dev/full", "w", encoding="utf-8") as full:
        p = subprocess.run([FAULTLINE, "doctor"], stdout=full, stderr=subprocess.PIPE, check=False)
    equal(p.returncode, 1)


def main():
    global DIR
    cases = [(name[5:], f) for name, f in globals().items() if name.startswith("test_")]
    failed = 0
    print("1..%d" % len(cases), flush=True)
    for number, (name, case) in enumerate(cases, 1):
        with tempfile.TemporaryDirectory(prefix="faultline-tool-") as DIR:
            os.chmod(DIR, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
            line = "ok %d - %s" % (number, name.replace("_", " "))
            try:
                case()
            except Skip as why:
                line += " # SKIP %s" % why
            except Exception:  # pylint: disable=broad-except
                line = "not " + line + "\n" + "".join("# %s\n" % s for s in traceback.format_exc().splitlines())
                failed += 1
            print(line.rstrip("\n"), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
