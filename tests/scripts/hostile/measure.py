#!/usr/bin/env python3
"""Counts the instructions and the memory that the command takes for hostile objects of size n, 4n and 16n.

    tests/scripts/hostile/measure.py [--command PATH] [KIND ...]

Each kind of object in kinds.py goes through every verb. It fails if a step from one size to the next takes more than
2.2 times as many instructions more as the file has bytes more, or if a run takes more memory than 64 MiB and 200 bytes
for each byte of the file. Instructions are those that valgrind's callgrind counts: they hardly differ between runs."""
import argparse, os, re, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kinds import K

SIZE = 400
GROWTH = 2.2
MEMORY = lambda size: (64 << 20) + 200 * size
VERBS = [['dis'], ['dis', '--json'], ['check'], ['check', '--json'], ['patch', '--pass', 'dce,blind']]

def run(command, stdout):
    """Exit status and peak memory in bytes."""
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--command', default='target/release/relinear')
    parser.add_argument('kinds', nargs='*')
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, 'wb') as nowhere:
        path = lambda name: os.path.join(folder, name)
        for kind in args.kinds or K:
            files = []
            for times in (1, 4, 16):
                files.append(path(f'{kind}.{times}.o'))
                with open(files[-1], 'wb') as out:
                    out.write(K[kind](SIZE * times))
            for verb in VERBS:
                more = ['-o', path('out.o')] if verb[0] == 'patch' else []
                row, was = [], None
                for file in files:
                    command = [args.command, verb[0], file, *verb[1:], *more]
                    size = os.path.getsize(file)
                    status, memory = run(command, nowhere)
                    counted = path('callgrind')
                    subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=' + counted, *command],
                                   stdout=nowhere, stderr=nowhere)
                    count = int(re.search(r'^(?:summary|totals): (\d+)', open(counted).read(), re.M).group(1))
                    wrong = ''
                    if status not in (0, 1):
                        wrong += f' STATUS {status}'
                    if memory > MEMORY(size):
                        wrong += f' MEMORY {memory >> 20} MiB'
                    if was and count / was[0] > GROWTH * size / was[1]:
                        wrong += f' GROWTH {count / was[0]:.1f} for {size / was[1]:.1f}'
                    failed += bool(wrong)
                    row.append(f'{size} B {count / 1e6:.1f} M {memory >> 20} MiB{wrong}')
                    was = (count, size)
                print(f'{kind:26} {" ".join(verb):28} ' + ' | '.join(row), flush=True)
    print(f'{failed} failed')
    return 1 if failed else 0

if __name__ == '__main__':
    sys.exit(main())
