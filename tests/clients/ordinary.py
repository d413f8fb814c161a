#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Ordinary programs that know nothing of userfaultfd must not notice that the library is loaded into them: each is
run on the kernel and under faultline, and says the same, with the same status. They were chosen for what they do to a
process: threads, forks, subprocesses, signals, a garbage collector, mmap'ed files, a snapshot by fork. One uses
userfaultfd without being asked, GDAL's netCDF driver on /vsi* files: there the output is what the memory was.

Some also run with an allocator preloaded, before faultline's library and behind it, where one is installed.

Usage: ordinary.py FAULTLINE [WORD]     only cases that have WORD in their name
"""

import glob
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import Tap, Way, ways  # noqa: E402

# what each case needs, and what is given to `sh -e`; $D is a directory of the run's own
PYTHON_THREADS = """
import threading, queue
q, out = queue.Queue(), []
def work():
    for n in iter(q.get, None):
        out.append(sum(i * i for i in range(n)))
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]
[q.put(n) for n in range(2000)]
[q.put(None) for _ in ts]
[t.join() for t in ts]
print(sum(out), len(out))
"""
PYTHON_SUBPROCESS = """
import subprocess, sys
for i in range(20):
    p = subprocess.run([sys.executable, '-c', 'import sys; sys.stdout.write(sys.stdin.read()[::-1])'],
                       input='x%d' % i * 5000, capture_output=True, text=True)
    print(len(p.stdout), p.returncode, hash(p.stdout == ('x%d' % i * 5000)[::-1]))
print(subprocess.call(['sh', '-c', 'kill -9 $$']))
"""
PYTHON_MULTIPROCESSING = """
import multiprocessing as mp, sys
from multiprocessing import shared_memory
def square(n):
    return n * n
def fill(name, i):
    m = shared_memory.SharedMemory(name)
    m.buf[i * 65536:(i + 1) * 65536] = bytes([i + 1]) * 65536
    m.close()
if __name__ == '__main__':
    mp.set_start_method(sys.argv[1])
    with mp.Pool(4) as p:
        print(sum(p.map(square, range(3000), 7)))
    m = shared_memory.SharedMemory(create=True, size=8 * 65536)
    ps = [mp.Process(target=fill, args=(m.name, i)) for i in range(8)]
    [p.start() for p in ps]
    [p.join() for p in ps]
    print([p.exitcode for p in ps], sum(m.buf))
    m.close()
    m.unlink()
"""
PERL = r"""
my $t = 0; my %h;
for my $i (1 .. 200000) { $h{$i % 7919} .= chr(65 + $i % 26); }
$t += length for values %h; print "$t\n";
my @p; for my $n (1 .. 10) { my $pid = fork // die; if (!$pid) { my @a = (1) x 100000; exit $n } push @p, $pid }
for (@p) { waitpid $_, 0; print $? >> 8, "\n" }
$SIG{ALRM} = sub { print "alarm\n" }; alarm 1; sleep 5; print `echo from a shell`;
"""
NODE = """
const {Worker, isMainThread, parentPort} = require('worker_threads');
const {execFileSync} = require('child_process');
if (!isMainThread) {
  let a = []; for (let i = 0; i < 200000; i++) a.push({i, s: 'x' + i});
  parentPort.postMessage(a.reduce((n, o) => n + o.s.length, 0));
} else {
  let left = 4, sum = 0;
  for (let i = 0; i < 4; i++) new Worker(__filename).on('message', n => { sum += n; if (!--left) {
    console.log(sum, execFileSync('echo', ['child']).toString().trim()); } });
}
"""
SQLITE = """
PRAGMA mmap_size=268435456; PRAGMA journal_mode=WAL;
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) INSERT INTO t SELECT i, hex(i*i) FROM n;
CREATE INDEX x ON t(b); SELECT count(*), sum(length(b)) FROM t; DELETE FROM t WHERE a%3=0; VACUUM;
SELECT count(*), max(b) FROM t; PRAGMA integrity_check;
"""
GIT = """
cd $D; rm -rf repo; git init -q repo; cd repo; git config user.name n; git config user.email e@x
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
for i in 1 2 3 4 5 6 7 8; do seq $i $((i * 3000)) >f$i; git add .; git commit -qm $i; done
git gc -q; git fsck 2>/dev/null; git log --oneline; git grep -c 77 HEAD -- f8; cd ..; rm -rf copy
git clone -q repo copy; git -C copy rev-parse HEAD
"""
C = """
#include <stdio.h>
int main(void) { long s = 0; for (int i = 0; i < 1000; i++) s += i; printf("%ld\\n", s); return 3; }
"""
REDIS = """
cd $D; rm -f dump.rdb redis.sock
redis-server --port 0 --unixsocket $D/redis.sock --dir $D --save '' --daemonize no >redis.log 2>&1 &
until redis-cli -s redis.sock ping >ping 2>&1; do kill -0 $!; sleep 0.05; done
redis-cli -s redis.sock eval 'for i=1,100000 do redis.call("set", "key:"..i, string.rep(i.." ", 20)) end' 0
redis-cli -s redis.sock incr n >ping; redis-cli -s redis.sock bgsave
until redis-cli -s redis.sock info persistence | grep -q bgsave_in_progress:0; do
    redis-cli -s redis.sock incr n >ping; sleep 0.02; done
redis-cli -s redis.sock info persistence | grep -E '^rdb_(last_bgsave_status|saves)' | tr -d '\\r'
redis-cli -s redis.sock dbsize; redis-cli -s redis.sock get key:4711 | cksum
redis-cli -s redis.sock shutdown nosave; wait; redis-check-rdb dump.rdb | grep -c -i 'looks ok'
"""
BASH = """
bash -c 'trap "echo usr1" USR1; kill -USR1 $$; for i in {1..200}; do (exit $((i % 7))); s=$((s + $?)); done; echo $s
  coproc cat; echo to coproc >&${COPROC[1]}; read -r l <&${COPROC[0]}; echo "$l"; kill $COPROC_PID; wait $COPROC_PID
  echo $?; diff <(seq 1000) <(seq 1001); ulimit -s 512
  bash -c "f() { ((\\$1)) && f \\$((\\$1 - 1)); }; f 100; echo deep"'
"""
GDAL = """
cd $D; G() { gdalinfo -stats "$1" >info; grep -v -e Files: -e history= info; }
gdal_create -q -of GTiff -outsize 300 200 -burn 7 -bands 1 -a_srs EPSG:4326 -a_ullr 0 20 30 0 a.tif
gdal_translate -q -of netCDF a.tif a.nc; G /vsisubfile/0_$(stat -c %s a.nc),$D/a.nc
gdal_translate -q -of XYZ /vsisubfile/0_$(stat -c %s a.nc),$D/a.nc b.xyz; cksum <b.xyz; rm -f a.* b.xyz info
"""

CASES = {
    "python, threads": (["python3"], "python3 $D/threads.py"),
    "python, subprocesses": (["python3"], "python3 $D/subprocesses.py"),
    "python, multiprocessing by fork": (["python3"], "python3 $D/processes.py fork"),
    "python, multiprocessing by spawn": (["python3"], "python3 $D/processes.py spawn"),
    "perl": (["perl"], "perl $D/perl.pl"),
    "node": (["node"], "node $D/node.js"),
    "sqlite": (["sqlite3"], "rm -f $D/db*; sqlite3 $D/db <$D/sqlite.sql"),
    "git": (["git"], GIT),
    "gcc": (["gcc"], "cd $D; gcc -O2 -flto -o prog c.c; status=0; ./prog || status=$?; echo $status; rm prog"),
    "redis, with bgsave": (["redis-server", "redis-check-rdb"], REDIS),
    "bash": (["bash"], BASH),
    "gdal, netCDF through /vsi*": (["gdal_create"], GDAL),
}
FILES = {"threads.py": PYTHON_THREADS, "subprocesses.py": PYTHON_SUBPROCESS, "processes.py": PYTHON_MULTIPROCESSING,
         "perl.pl": PERL, "node.js": NODE, "sqlite.sql": SQLITE, "c.c": C}
ALLOCATORS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
# the allocators are tried with programs that allocate in threads and fork
WITH_ALLOCATORS = ["python, threads", "python, multiprocessing by fork", "perl", "gdal, netCDF through /vsi*"]


def allocator_ways(faultline):
    """(way on the kernel, ways under faultline) for each allocator."""
    preload = os.path.join(os.path.dirname(os.path.abspath(faultline)), "libfaultline-preload.so")
    for name, lib in ALLOCATORS.items():
        path = next(iter(glob.glob("/usr/lib/*/" + lib)), None)
        if not path:
            yield name, None, []
            continue
        yield name, Way("kernel", env={"LD_PRELOAD": path}), [
            Way(f"{name} before", env={"LD_PRELOAD": f"{path}:{preload}"}),
            Way(f"{name} behind", env={"LD_PRELOAD": f"{preload}:{path}"}),
            Way(f"{name} and the command", [faultline, "run", "--deny-kernel", "--"], {"LD_PRELOAD": path})]


def compare(tap, name, kernel, others):
    needs, script = CASES[name]
    missing = [p for p in needs if not shutil.which(p)]
    if missing:
        tap.skip(name, f"{missing[0]} is not installed")
        return
    want = kernel.run(["sh", "-ec", script])
    if want[0] == "timeout" or (want[0] and want[0] != 0):
        tap.result(False, f"{name}: on the kernel", f"status {want[0]}\n{want[1]}")
        return
    for way in others:
        got = way.run(["sh", "-ec", script])
        tap.result(got == want, f"{name}: {way.name}", f"kernel {want[0]}:\n{want[1]}\nhere {got[0]}:\n{got[1]}")


def main():
    faultline, word = os.path.abspath(sys.argv[1]), (sys.argv[2:] + [""])[0]
    tap = Tap()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as d:
        os.environ["D"] = d
        for file, text in FILES.items():
            with open(os.path.join(d, file), "w", encoding="utf-8") as f:
                f.write(text)
        kernel, others = ways(faultline)
        for name in CASES:
            if word in name:
                compare(tap, name, kernel, others)
        for allocator, plain, under in allocator_ways(faultline):
            for name in WITH_ALLOCATORS:
                if word in name and plain:
                    compare(tap, name, plain, under)
                elif word in name:
                    tap.skip(f"{name}: {allocator}", "it is not installed")
    tap.end()


main()
