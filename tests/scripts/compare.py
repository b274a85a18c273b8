#!/usr/bin/env python3
"""Patches BPF objects with each set of passes, loads both with libbpf, and lists what differs.

    compare.py [--relinear BIN] [--passes "dce blind dce,blind"] [--jobs N] [--run] OBJECT...

Exit 0 if every object was patched and every program that loaded before loads after, and (--run)
answers the same. See load.c for how programs are loaded and run.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def patch(args, passes, source, target):
    """Runs relinear; whether it changed any code, or why it failed."""
    command = [args.relinear, "patch", "--json", "--pass", passes, "--seed", "1", "-o", target, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode == 0:
        total = json.loads(done.stdout)["total"]
        return total["inserted"] + total["deleted"] > 0
    lines = done.stderr.strip().splitlines() or ["no message"]
    return f"exit {done.returncode}: {lines[-1]}"


def load(args, path):
    """{program: (verdict, outcome, message)}; "*" is the object as a whole."""
    command = [args.loader] + (["-r"] if args.run else []) + [path]
    text = subprocess.run(command, capture_output=True, text=True, errors="replace").stdout
    rows = {}
    for line in text.splitlines():
        _, program, verdict, _, outcome, message = line.split("\t", 5)
        rows[program] = (verdict, outcome, message)
    return rows


def examine(args, source):
    """(name, rows before, {passes: (whether code changed, rows), or the error})."""
    name = pathlib.Path(source).name
    before, after = load(args, source), {}
    if args.run:
        # What differs between two runs of the same program says nothing.
        again = load(args, source)
        for program, (verdict, outcome, message) in before.items():
            if again.get(program, ("", "", ""))[1] != outcome:
                before[program] = (verdict, None, message)
    for passes in args.passes.split():
        with tempfile.TemporaryDirectory() as folder:
            target = os.path.join(folder, name)
            changed = patch(args, passes, source, target)
            after[passes] = changed if isinstance(changed, str) else (changed, load(args, target))
            if args.run and not isinstance(changed, str) and any(exceptions(before, after[passes][1])):
                forget_what_varies(args, source, before)
    return name, before, after


def forget_what_varies(args, source, before):
    """Drops answers that the program does not always give: rare ones show in more runs, of the original only."""
    for _ in range(100):
        for program, (verdict, outcome, _) in load(args, source).items():
            if before[program][1] != outcome:
                before[program] = (verdict, None, before[program][2])


def exceptions(before, after):
    """(program, what happened) for each program that did not stay as it was."""
    for program, (verdict, outcome, _) in before.items():
        new = after.get(program)
        if new is None:
            if verdict == "ok":
                yield program, "gone"
        elif verdict == "ok" and new[0] != "ok":
            yield program, f"refused after ({new[0]}): {new[2]}"
        elif verdict != "ok" and new[0] == "ok":
            yield program, "refused before, loads after"
        elif verdict == "ok" and outcome is not None and outcome != new[1]:
            yield program, f"answers {new[1]}, not {outcome}"


def report(args, results):
    """Prints the table and the exceptions; true if there is nothing to look at."""
    header = ("passes", "objects", "patched", "changed", "errors", "before", "after",
              "prog.before", "prog.after", "same answer", "exceptions")
    table, details = [header], []
    for passes in args.passes.split():
        counts = dict.fromkeys(header[1:], 0)
        for name, before, after in results:
            counts["objects"] += 1
            loaded = {program for program, row in before.items() if row[0] == "ok"}
            counts["before"] += "*" in loaded
            counts["prog.before"] += len(loaded - {"*"})
            if isinstance(after[passes], str):
                counts["errors"] += 1
                details.append((passes, name, "*", after[passes]))
                continue
            changed, rows = after[passes]
            counts["patched"] += 1
            counts["changed"] += changed
            found = list(exceptions(before, rows))
            bad = {program for program, _ in found}
            details += [(passes, name, program, what) for program, what in found]
            counts["exceptions"] += len(found)
            both = {p for p in loaded if rows.get(p, ("", "", ""))[0] == "ok"}
            counts["after"] += "*" in both
            counts["prog.after"] += len(both - {"*"})
            counts["same answer"] += sum(before[p][1] not in (None, "-") for p in both - bad)
        table.append((passes, *(counts[column] for column in header[1:])))
    widths = [max(len(str(row[i])) for row in table) for i in range(len(header))]
    for row in table:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths)))
    for detail in details:
        print("  ".join(detail))
    return not details


def main():
    """Parses the command line, examines the objects side by side, reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relinear", default=str(ROOT / "target/release/relinear"))
    parser.add_argument("--loader", default=str(ROOT / "target/load"))
    parser.add_argument("--passes", default="dce blind dce,blind")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    if not shutil.which(args.relinear):
        sys.exit(f"no {args.relinear}: cargo build --release --features cli")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda source: examine(args, source), sorted(args.objects)))
    sys.exit(0 if report(args, results) else 1)


if __name__ == "__main__":
    main()
