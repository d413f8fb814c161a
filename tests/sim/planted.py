#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""planted.py - typical bugs of such an engine, planted in copies of its files for the explorer to find.

  planted.py --make NAME IN OUT     write the file with the bug in it (the build does)
  planted.py --run DIRECTORY NAME...    find each with DIRECTORY/sim-NAME, and see the schedule show it again (TAP)

The replaced text stands in its file exactly once; if not, the build fails, and this table has to follow the code.
Rank assertions would find some of them at the first step; --no-ranks shows the consequence.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'scripts'))
from plant import replace_once  # noqa: E402

# name: (what it is, text, in its place, (scenario, what the explorer must say, arguments)...)
PLANTED = {
    'lost-wakeup': (
        'a lost wake-up: the message is queued after the page-table lock is dropped',
        '\tenqueue(w);\n\tfl_vmf_unlock(vmf);\n', '\tfl_vmf_unlock(vmf);\n\tenqueue(w);\n',
        ('fault-copy/*', 'deadlock', [])),
    'stale-grant': (
        'a stale grant: a right is cached after the lock of its entry is dropped',
        '\tvmf->mm->ops->rights.grant(vmf->mm, vma, first, PAGES(end - first), right);\n',
        '\tfl_mutex_unlock(fl_pt_lock(vmf->mm, vmf->addr));\n'
        '\tvmf->mm->ops->rights.grant(vmf->mm, vma, first, PAGES(end - first), right);\n'
        '\tfl_mutex_lock(fl_pt_lock(vmf->mm, vmf->addr));\n',
        ('forgotten-writeprotect/mmu', 'I8 cached right|while it was write-protected', [])),
    'lock-order': (
        'a wrong lock order: a file\'s lock is taken before mmap_lock',
        '\telse\n\t\tfl_mmap_read_lock(mm);\n\tfl_mutex_lock(&file->lock);\n',
        '\tfl_mutex_lock(&file->lock);\n\tif (!u->tables)\n\t\tfl_mmap_read_lock(mm);\n',
        ('truncate-fault-munmap/*', 'deadlock', ['--no-ranks']),
        ('truncate-fault-munmap/*', 'lock order: mmap_lock is taken while file->lock is held', [])),
    'copy-under-lock': (
        'a copy under a lock: the source of a fill is read with page faults enabled',
        '\treturn read_client(mm, to, src, len);\n',
        '\tsize_t done;\n\n'
        '\tfl_soft_access(mm, src, to, (size_t)len, FAULT_KERNEL, NULL, &done);\n'
        '\treturn done;\n',
        ('two-spaces-mremap/soft', 'deadlock', ['--no-ranks']),
        ('two-spaces-mremap/soft', 'lock order: a mapping is taken', [])),
    'missed-recheck': (
        'a missed re-check: a page that has moved is mapped although it was dropped meanwhile',
        '\tif (!pte_migration(pte) || pte_pfn(pte) != old)\n', '\tif (!ptep)\n',
        ('dontneed-migrate/*', 'is back|invariant|in use', [])),
    'table-after-free': (
        'a page table used after its free: an empty one is freed that a neighbouring fault is about to use',
        'if (unused(mm, lo, hi) && table_empty(below)) {',
        'if ((unused(mm, lo, hi) || lo) && table_empty(below)) {',
        ('fault-munmap-beside/*', r'after it was freed|leads nowhere|a frame was not freed', [])),
    'not-waited-for': (
        'a mapping is changed while a fault has it pinned',
        '\t\tfl_pins_drain(&vma->pins);\n', '\t\t;\n',
        ('fault-munmap/*', 'a mapping has changed|leads nowhere', [])),
    'no-second-look': (
        'a fault does not re-check whether its mapping is about to change',
        '\t*again = fl_read_seqretry(&mm->vma_seq, seq);\n', '\t*again = seq & 1;\n',
        ('fault-munmap/*', 'a mapping has changed|leads nowhere', [])),
    'merged-alone': (
        'a mapping merges with one that a fault has pinned',
        '\tfl_mmap_exclude(mm, vma->start, upper->end);\n', '',
        ('faults-merge/*', 'a mapping has changed', [])),
    'late-register': (
        'a range is registered with an object that was closed while the call waited',
        'int err = ctx->released ? -ESRCH : 0;', 'int err = 0;',
        ('fault-register-close/*', 'an object that is closed', [])),
    'sleep-without-wait': (
        'a fault without memory for its wait sleeps until the next message, and misses what resolves it',
        '\t\tfl_vmf_unlock(vmf);\n\t\tfl_host_yield();\n',
        '\t\tfl_vmf_unlock(vmf);\n\t\tfl_futex_wait(&ctx->seq, ctx->seq, 0);\n',
        ('fault-copy/*', 'deadlock', ['--failures', '1'])),
    'undone-unseen': (
        'a migration that finds no frame puts its page back without a look at what happened to it meanwhile',
        '\t*new = mm->ops->frames.get(mm, vma, addr);\n\tif (*new == FL_PFN_NONE)\n\t\treturn FL_PFN_NONE;\n'
        '\tset_pte(ptep, mk_migration_pte(old));\n',
        '\tset_pte(ptep, mk_migration_pte(old));\n\tfl_mutex_unlock(fl_pt_lock(mm, addr));\n'
        '\t*new = mm->ops->frames.get(mm, vma, addr);\n\tfl_mutex_lock(fl_pt_lock(mm, addr));\n'
        '\tif (*new == FL_PFN_NONE) {\n\t\tset_pte(ptep, old);\n\t\treturn FL_PFN_NONE;\n\t}\n',
        ('dontneed-migrate/*', 'is back|invariant|in use', ['--failures', '1'])),
    'waits-for-writer': (
        'an eviction looks again without end while the table of mappings changes',
        '\treturn ret && !fl_read_seqretry(&mm->vma_seq, seq);\n',
        '\twhile (fl_read_seqretry(&mm->vma_seq, seq))\n\t\tseq = fl_read_seqbegin(&mm->vma_seq);\n\treturn ret;\n',
        ('store-munmap-beside/guard-full', 'livelock', [])),
    # in the cache of rights, on backends that have it
    'rights-first': (
        'rights are given to pages of the host before markers hide them',
        '\tint err = guard(p->vma, p->start, p->end);\n\n\tif (err)\n\t\treturn err;\n'
        '\tbit_fill(c->shown, p->first, p->nr, false);\n\tfl_yield_point(c);\n'
        '\terr = protect(p->vma, c, p->start, p->end, '
        'right_prot(p->vma, w ? FL_RIGHT_WRITE : FL_RIGHT_READ), room);\n',
        '\tint err = protect(p->vma, c, p->start, p->end, '
        'right_prot(p->vma, w ? FL_RIGHT_WRITE : FL_RIGHT_READ), room);\n\n'
        '\tif (err)\n\t\treturn err;\n\terr = guard(p->vma, p->start, p->end);\n'
        '\tbit_fill(c->shown, p->first, p->nr, false);\n',
        ('fault-copy/guard', 'gives more than the entry', [])),
    'evict-untried': (
        'a page of another mapping is evicted without its lock',
        '(tried && !fl_write_trylock(&vma->cache_lock)))\n\t\treturn p.end;\n',
        '0)\n\t\treturn p.end;\n\ttried = false;\n',
        ('borders*/guard-full', 'gives more|does not know', [])),
    'evict-late': (
        'other pages of the mapping are evicted after its lock is released',
        '\tif (splits() > fl_native.budget)\n\t\tevict_to(mm, vma, fl_native.budget - fl_native.budget / 8, NULL);\n'
        '\tfl_write_unlock(&vma->cache_lock);\n',
        '\tfl_write_unlock(&vma->cache_lock);\n\tif (splits() > fl_native.budget)\n'
        '\t\tevict_to(mm, vma, fl_native.budget - fl_native.budget / 8, NULL);\n',
        ('borders-of-one-protect/guard-full', 'gives more|does not know', [])),
    'stale-number': (
        'a count of borders is not re-checked after it was published',
        '\t} while (!right);\n', '\t} while (right && !right);\n',
        ('store-protect-beside/guard-full', 'of borders is wrong', [])),
    'evict-anybody': (
        'rights are taken from memory that the host has unmapped: it may be mapped again',
        '\tif (max == FL_RIGHT_WRITE || (vma->flags & (VM_RELEASED | VM_GONE)))\n',
        '\tif (max == FL_RIGHT_WRITE || (vma->flags & VM_RELEASED))\n',
        ('fault-munmap-reuse/bare-full', 'may be another', [])),
    'shown-after-error': (
        'a page is shown though its right could not be set',
        'if (!err && mark && bit_any(c->shown', 'if (mark && bit_any(c->shown',
        ('store-writeprotect/guard*', 'gives more|does not know', ['--failures', '1'])),
    'restored-unasked': (
        'a right is restored to a mapping that is not ours any more',
        '\treturn map->anon && map->prot == prot;\n', '\treturn map->anon;\n',
        ('place-taken/place', 'not ours any more', [])),
    'set-up-again': (
        'a lost expansion: the second thread that asks for a new record sets it up again',
        '\twhile (!first && (state = __atomic_load_n(&home->state, __ATOMIC_ACQUIRE)) != CHUNK_SET_UP) {\n'
        '\t\tfl_yield_point(home);\n\t\tFL_BUG_ON(c->splits); /* what its last extent has shown was forgotten */\n',
        '\tfor (state = __atomic_load_n(&home->state, __ATOMIC_ACQUIRE); !first;) {\n',
        ('place-first-use/place', 'in a new record is lost|does not know', [])),
    # of mapping calls, adopting, releasing and fork, on the same backends
    'adopted-in-sight': (
        'memory is copied into the pool before it is hidden',
        '\terr = fl_host_mprotect(start, end - start, PROT_NONE);\n', '\terr = 0;\n',
        ('store-register/guard', 'the store is lost', [])),
    'adopted-again-in-sight': (
        'memory that was released is registered again before it is hidden',
        '\tif (fl_host_mprotect(vma->start, len, PROT_NONE)) {\n\t\tfl_direct_conform(vma);\n'
        '\t\treturn -ENOMEM;\n\t}\n', '',
        ('store-register-again/guard', 'the store is lost|does not know', [])),
    'not-moved-back': (
        'a registration that fails leaves the pages where it has put them aside',
        '\t\tfl_host_move_back((uint64_t)at, len, start);\n', '',
        ('store-register/guard', 'the store is lost|in no table', ['--failures', '1'])),
    'taken-in-sight': (
        'a store lost between take-over and hiding: what the program reaches is moved aside before it is hidden',
        '\tint err = fl_vma_hidden(vma) ? 0 : hide(mm, vma);\n',
        '\tint err = 0;\n\n\tfl_cache_forget(vma->pgoff, nr);\n',
        ('take-in-place-copy/place', 'the store is lost', [])),
    'right-forgotten': (
        'the right that all pages of a chunk had is not in its record when that is set up',
        '\tbit_fill(c->shown, home->first, home->nr, state > chunk_new(FL_RIGHT_NONE));\n',
        '\tbit_fill(c->shown, home->first, home->nr, false);\n',
        ('place-protect-beside/place', 'does not know', [])),
    'holes-in-sight': (
        'what has holes is looked at, and taken for a hole, before it is hidden',
        '\tret = hide(mm, vma);\n', '\tfl_cache_forget(vma->pgoff, PAGES(end - start));\n',
        ('store-register-missing/place', 'the store is lost|does not know|gives more', [])),
    'first-unseen': (
        'a system call overlooks what the first registration has hidden, but not put in the table',
        '\tif (!__atomic_load_n(&fl_native.adopting, __ATOMIC_ACQUIRE) && ', '\tif (',
        ('call-register/guard', 'the store failed', [])),
    'mapped-in-sight': (
        'what is mapped for a released range has the rights of an open direct map',
        '\tif (fl_fail(fp) || fl_direct_set(pfn, PAGES(len), false))', '\tif (fl_fail(fp))',
        ('store-register-again/guard', 'begins in sight', [])),
    'released-early': (
        'a released range is given its rights back before what it holds is in place',
        '\tfl_cache_forget(vma->pgoff, PAGES(len));\n\tfor (uint64_t a = vma->start, next;',
        '\tfl_cache_forget(vma->pgoff, PAGES(len));\n'
        '\tfl_host_mprotect(vma->start, len, fl_access_prot(fl_vma_access(vma)));\n'
        '\tfor (uint64_t a = vma->start, next;',
        ('store-unregister-dropped/guard', 'the store is lost', [])),
    'looked-too-early': (
        'munmap looks whether the memory is registered, and lets go before the host has unmapped it',
        '\tif (outside_begin(addr, len, &o))\n\t\tret = OUTSIDE(&o, fl_host_munmap(addr, len));\n',
        '\tif (outside_begin(addr, len, &o)) {\n\t\toutside_end(&o);\n\t\tfl_yield_point(mm);\n'
        '\t\tret = fl_host_munmap(addr, len);\n\t}\n',
        ('munmap-reuse-register/guard', 'the host maps', [])),
    'trusts-the-table': (
        'an object is taken off mappings that are not asked for',
        '\tfl_claim_verify(ctx->mm, 0, TASK_SIZE);', '\t;',
        ('unseen-close/*', 'mapped unseen is changed|maps another frame|a store is lost', [])),
    'tables-first': (
        'munmap empties the tables before the host has unmapped the memory',
        '\tif (!ret)\n\t\tret = change(call);\n\tfl_yield_point(mm);\n'
        '\tif (ret >= 0)\n\t\tfl_munmap_gone(mm, start, end);\n',
        '\tif (!ret)\n\t\tfl_munmap_gone(mm, start, end);\n\tfl_yield_point(mm);\n'
        '\tif (!ret)\n\t\tret = change(call);\n\tif (ret >= 0)\n\t\tfl_yield_point(mm);\n',
        ('fault-munmap-reuse/guard', 'memory of the pool', [])),
    'moved-in-sight': (
        'mremap copies pages that can still be stored to at their old place',
        '\tfl_hide_range(mm, from, end);\n\tfor (', '\tfor (',
        ('store-mremap-registered/guard', 'the store is lost', [])),
    'forked-in-sight': (
        'the child copies the pool while other threads of its parent may still write to it',
        '\tif (fl_cache_freeze(&fl_native.mm, true)) {\n', '\tif (false) {\n',
        ('fork-stores/guard', 'of different moments', [])),
    'double-free': (
        'a folio freed twice: dropping a page under migration frees its frame, too',
        '\tif (pte_swap(old))\n\t\tmm->ops->swap->free(mm, pte_pfn(old));\n',
        '\tif (pte_swap(old))\n\t\tmm->ops->swap->free(mm, pte_pfn(old));\n'
        '\tif (pte_migration(old))\n\t\tfl_folio_put(mm, pte_pfn(old));\n',
        ('dontneed-migrate/*', 'given back twice|freed twice|in use', [])),
}


def make(name, source, target):
    with open(source, encoding='utf-8') as file:
        whole = file.read()
    _, text, instead = PLANTED[name][:3]
    broken, times = replace_once(whole, text, instead)
    if broken is None:
        sys.exit(f'planted.py: {name}: the text is in {source} {times} times, not once')
    with open(target, 'w', encoding='utf-8') as file:
        file.write(broken)


def sim(directory, name, arguments):
    return subprocess.run([f'{directory}/sim-{name}', '--random', '0', *arguments], stdout=subprocess.PIPE, text=True,
                          check=False, timeout=600).stdout


def find(directory, name, scenario, words, arguments):
    """(why it was not found or not replayed, or None; the lines that show it)"""
    out = sim(directory, name, ['--scenario', scenario, *arguments])
    shown = [line for line in out.splitlines() if line.startswith('#')]
    how = re.search(r'^#   sim --scenario (\S+) --replay (\S+)', out, re.MULTILINE)
    if not how or not re.search(words, out):
        return f'not found: {words}', shown
    what = out[:how.start()].splitlines()[-1]
    again = sim(directory, name, ['--scenario', how[1], '--replay', how[2], *arguments])
    return (None if what in again.splitlines() else 'the replay did not show it: ' + what), shown


def run(directory, names):
    cases = [(name, PLANTED[name][0], *case) for name in names for case in PLANTED[name][3:]]
    bad = 0
    print(f'1..{len(cases)}')
    for name in set(PLANTED) - set(names):
        print(f'# not built: {name}')
    for number, (name, text, scenario, words, arguments) in enumerate(cases, 1):
        why, shown = find(directory, name, scenario, words, arguments)
        bad += bool(why)
        print(f'{"not " if why else ""}ok {number} - {text}{" (" + arguments[0] + ")" if arguments else ""}')
        print('\n'.join(shown + ([f'# {why}'] if why else [])), flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    if sys.argv[1] == '--make':
        make(*sys.argv[2:])
    else:
        sys.exit(run(sys.argv[2], sys.argv[3:]))
