#!/usr/bin/env python3
"""Makes the corpus of a fuzz target out of a larger one: the shortest inputs, as many as fit.

usage: fuzz/corpus.py TARGET DIRECTORY [KIB]
"""

import pathlib
import shutil
import sys

target, source = sys.argv[1:3]
left = 1024 * int(sys.argv[3] if len(sys.argv) > 3 else 40)
corpus = pathlib.Path(__file__).parent / "corpus" / target
shutil.rmtree(corpus, ignore_errors=True)
corpus.mkdir(parents=True)
for path in sorted(pathlib.Path(source).iterdir(), key=lambda path: (path.stat().st_size, path.name)):
    left -= path.stat().st_size
    if left < 0:
        break
    shutil.copy(path, corpus)
