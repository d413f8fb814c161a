# SPDX-License-Identifier: MIT
"""plant.py - put a bug into a source text: one place, found whatever its white space, replaced by another.

What plants bugs (check-mutants, tests/sim/planted.py) names the place by its text, which must stand there exactly
once. How a formatter breaks and aligns it does not matter.
"""
import re

WORD = re.compile(r'\w')


def replace_once(whole, text, instead):
    """(the text with the bug, how often the place was found); the former is None unless it was found once."""
    tokens = re.findall(r'\w+|[^\w\s]', text)
    pattern = re.escape(tokens[0])
    for before, token in zip(tokens, tokens[1:]):
        pattern += (r'\s+' if WORD.match(before) and WORD.match(token) else r'\s*') + re.escape(token)
    found = list(re.finditer(pattern, whole))
    if len(found) != 1:
        return None, len(found)
    return whole[:found[0].start()] + instead.strip() + whole[found[0].end():], 1
