#!/usr/bin/env bash
# Which lines the tests run, by folder of src. Fails if a folder is below what it has to have.
# Needs cargo-llvm-cov (cargo install cargo-llvm-cov --locked) and llvm-tools (rustup component add llvm-tools).
#   tests/scripts/coverage.sh [MISSED]     with MISSED, a file for the lines that none runs
set -euo pipefail
cd "$(dirname "$0")/../.."
json=target/coverage.json
# A limit on the size of files would limit the profile too. Processes that tests kill leave profiles that are not whole.
cargo llvm-cov --no-report --all-features --tests -- --skip million --skip no_room_for_the_output
cargo llvm-cov report --failure-mode all --json --output-path "$json"
python3 - "$json" "${1:-}" <<'PYTHON'
import json, os, sys

LEAST = {"core": 95, "bpf": 95, "passes": 90, "elf": 90}
files = json.load(open(sys.argv[1]))["data"][0]["files"]
counts, missed = {}, []
for file in files:
    path = os.path.relpath(file["filename"])
    if not path.startswith("src/") or path.endswith("tests.rs"):
        continue
    folder = path.split("/")[1] if path.count("/") > 1 else "."
    lines = file["summary"]["lines"]
    total, covered = counts.get(folder, (0, 0))
    counts[folder] = total + lines["count"], covered + lines["covered"]
    # A segment is line, column, count, whether it has one, and whether it begins a region.
    for line, _, count, has_count, is_entry, is_gap in file["segments"]:
        if has_count and is_entry and count == 0 and not is_gap:
            missed.append(f"{path}:{line}")
below = False
for folder, (total, covered) in sorted(counts.items()):
    share, least = 100 * covered / total, LEAST.get(folder, 0)
    below |= share < least
    print(f"{folder:8} {covered:6} of {total:6} lines  {share:5.1f} %" + (f"  (at least {least})" if least else ""))
if sys.argv[2]:
    open(sys.argv[2], "w").write("\n".join(dict.fromkeys(missed)) + "\n")
sys.exit(below)
PYTHON
