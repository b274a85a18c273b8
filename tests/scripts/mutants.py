#!/usr/bin/env python3
"""Runs the mutants of `cargo mutants --list` against the tests of the core, many in one build.

`cargo mutants` builds everything again for each mutant, which for the core is hours. Here each function gets the bodies
of all of its mutants, and a variable of the environment says which one runs. What does not compile that way (a mutant
that is not viable, or one in a function of which the type depends on its body) is built by itself.

    tests/scripts/mutants.py [-o RESULTS] FILE...      (from the root; needs cargo-mutants)

Lines of RESULTS: `caught`, `missed`, `timeout` (caught too: it loops) or `unviable`, and the name of the mutant. Those that are
there already are not run again.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target/mutants-source"
# Those that find most first.
TESTS = ["relinear", "all", "miri", "alloc"]
TOPICS = os.environ.get("TOPICS", "edits:: tables:: errors:: relax::random relax::limits relax::forms editor::")
FILTER = f"models:: come_out_as_worked_out {TOPICS} --skip corpus --skip million".split()
FLAGS = "--profile mutants --no-default-features --features fuzzing".split()
SECONDS = int(os.environ.get("MUTANT_SECONDS", "90"))

SWITCH = """
/// Which mutant runs. One that panics ends the tests at once. It takes no memory, which may have run out.
#[doc(hidden)]
pub fn mutant() -> u32 {
    use ::core::ffi::{CStr, c_char};
    use ::core::sync::atomic::{AtomicU32, Ordering};
    unsafe extern "C" {
        fn getenv(name: *const c_char) -> *const c_char;
    }
    static MUTANT: AtomicU32 = AtomicU32::new(u32::MAX);
    let value = |name: &CStr| unsafe {
        let value = getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_str().unwrap())
    };
    match MUTANT.load(Ordering::Relaxed) {
        u32::MAX => {
            let mutant = value(c"MUTANT").map_or(0, |number| number.parse().unwrap());
            if value(c"MUTANT_EXITS").is_some() {
                std::panic::set_hook(std::boxed::Box::new(|_| std::process::exit(101)));
            }
            MUTANT.store(mutant, Ordering::Relaxed);
            mutant
        }
        mutant => mutant,
    }
}
"""


def offset(starts, place):
    return starts[place["line"] - 1] + place["column"] - 1


def body_of(text, start, end):
    """Where the body of the function at `start..end` begins: past its parameters, at no depth."""
    at = text.index("fn ", start)
    depth = 0
    while True:
        if text[at] in "([":
            depth += 1
        elif text[at] in ")]":
            depth -= 1
        elif text[at] == "{" and depth == 0:
            return at
        at += 1
        assert at < end


def is_const(path):
    """Whether functions of the file have to stay `const`: some constant calls them."""
    return Path(path).name in ("handle.rs", "patch.rs", "cursor.rs", "insn.rs", "opcode.rs")


def mutate(path, mutants, sources):
    """The file with a choice of bodies for each function, and the lines of each mutant in it."""
    # All the bodies of a function at each of its calls would take the compiler an hour, and all memory.
    text = re.sub(r"#\[inline(\(always\))?\]", "#[inline(never)]", sources[path])
    if not is_const(path):
        # The choice is none of a constant. Spaces keep the columns.
        text = re.sub(r"\bconst fn\b", "      fn", text)
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    functions = {}
    for number, mutant in mutants:
        if not mutant["function"]:
            continue
        span = mutant["function"]["span"]
        where = offset(starts, span["start"]), offset(starts, span["end"])
        functions.setdefault(where, []).append((number, mutant))
    out, done, lines = [], 0, {}

    def put(piece):
        out.append(piece)
        return sum(piece.count("\n") for piece in out) + 1

    for (start, end), own in sorted(functions.items()):
        if start < done:
            continue  # Inside of a function that has mutants itself.
        body = body_of(text, start, end)
        if "-> impl" in text[start:body] or "const fn" in text[start:body]:
            continue  # Its type depends on its body, or it cannot make a choice.
        put(text[done:body] + "{ match crate::mutant() {\n")
        for number, mutant in own:
            span = mutant["span"]
            a, b = offset(starts, span["start"]), offset(starts, span["end"])
            first = put(f"{number} => ")
            last = put(text[body:a] + mutant["replacement"] + text[b:end] + "\n")
            lines[number] = (path, first, last)
        put("_ => " + text[body:end] + "\n} }")
        done = end
    put(text[done:])
    return "".join(out), lines


def cargo(*args, **options):
    env = dict(os.environ, CARGO_TARGET_DIR=str(ROOT / "target"))
    return subprocess.run(["cargo", *args], cwd=COPY, env=env, text=True, capture_output=True, **options)


def build(names=TESTS):
    """Builds these tests. Gives their paths, or else what is wrong: files with lines."""
    tests = [flag for name in names for flag in (["--lib"] if name == "relinear" else ["--test", name])]
    result = cargo("test", *FLAGS, *tests, "--no-run", "--message-format=json")
    binaries, errors = {}, []
    for line in result.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message.get("executable") and message["profile"]["test"]:
            binaries[message["target"]["name"]] = message["executable"]
        elif message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            spans = message["message"]["spans"]
            places = [(span["file_name"], span["line_start"]) for span in spans if span["is_primary"]]
            more = [(span["file_name"], span["line_start"]) for span in spans if not span["is_primary"]]
            text = message["message"]["message"] if spans else message["message"]["rendered"]
            errors.append((text, places, more))
    if result.returncode != 0 and not errors:
        raise SystemExit(result.stderr)
    return binaries, errors


def run(binaries, number, is_shown=False):
    """Whether the tests find out."""
    # Enough for the model, and no more for a list that grows for ever.
    limit = "ulimit -v 4000000; exec timeout -k 1 %d \"$@\"" % SECONDS
    for name in (name for name in TESTS if name in binaries):
        env = dict(os.environ, MUTANT=str(number), RUST_BACKTRACE="0")
        if name in ("all", "miri"):  # Tests of the others make the library panic, or count blocks of memory.
            env["MUTANT_EXITS"] = "1"
        command = ["bash", "-c", limit, "bash", binaries[name], *(FILTER if name == "all" else [])]
        result = subprocess.run(command, cwd=COPY, env=env, capture_output=True, text=True)
        code = result.returncode
        if code != 0 and is_shown:
            print(name, code, result.stdout[-2000:], result.stderr[-2000:], flush=True)
        if code in (124, 137):
            return "timeout"
        if code != 0:
            return "caught"
    return "missed"


def main():
    arguments = sys.argv[1:]
    results = ROOT / "target/mutants.txt"
    if arguments[:1] == ["-o"]:
        results, arguments = Path(arguments[1]), arguments[2:]
    known = {}
    if results.exists():
        known = dict(reversed(line.split(" ", 1)) for line in results.read_text().splitlines())
    command = ["cargo", "mutants", "--list", "--json"]
    for file in arguments:
        command += ["-f", file]
    listed = json.loads(subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout)
    mutants = dict(enumerate(listed, 1))
    wanted = {n for n, m in mutants.items() if m["name"] not in known}
    print(f"{len(listed)} mutants, {len(wanted)} to run", flush=True)

    COPY.mkdir(parents=True, exist_ok=True)
    folders = ["src", "tests", "benches", "fuzz/dictionaries"]
    # What does not change is not built again.
    own = {mutant["file"] for mutant in listed} | {"src/lib.rs"}
    sources = {path: (ROOT / path).read_text() for path in own}
    options = ["-rcR", "--delete", *(f"--exclude=/{path}" for path in own)]
    subprocess.run(["rsync", *options, *folders, "README.md", "Cargo.lock", COPY], cwd=ROOT, check=True)
    manifest = re.sub(r"(?ms)^\[lints\.\w+\]\n.*?(?=^\[)", "", (ROOT / "Cargo.toml").read_text()) + "\n[workspace]\n"
    if not (COPY / "Cargo.toml").exists() or (COPY / "Cargo.toml").read_text() != manifest:
        (COPY / "Cargo.toml").write_text(manifest)

    def note(number, outcome):
        with results.open("a") as file:
            file.write(f"{outcome} {mutants[number]['name']}\n")

    def write(chosen):
        """Puts these mutants into the copy."""
        everywhere = {}
        by_file = {}
        for number in chosen:
            by_file.setdefault(mutants[number]["file"], []).append((number, mutants[number]))
        for path in own:
            new, lines = mutate(path, by_file.get(path, []), sources)
            new += SWITCH * (path == "src/lib.rs")
            if not (COPY / path).exists() or (COPY / path).read_text() != new:
                (COPY / path).write_text(new)
            everywhere.update(lines)
        return everywhere

    # Those that do not compile with others, as was found before.
    cache = ROOT / "target/mutants-apart.txt"
    before = set(cache.read_text().splitlines()) if cache.exists() else set()
    apart = [n for n in wanted if mutants[n]["name"] in before]
    together = wanted - set(apart)
    while True:
        lines = write(together)
        binaries, errors = build()
        if not errors:
            break
        bad = set()
        for text, *places in errors:
            # One of the places is in a mutant; what is outside of all of them is because of one.
            for some in places:
                for file, line in some:
                    inside = {n for n, (f, a, b) in lines.items() if f == file and a <= line <= b}
                    bad |= inside
                if bad:
                    break
            else:
                print("unexpected:", text, places, flush=True)
        print({text for text, *_ in errors} if len(bad) < 5 else "", flush=True)
        if not bad:
            raise SystemExit("the copy does not compile")
        together -= bad
        apart += sorted(bad)
        cache.write_text("".join(mutants[n]["name"] + "\n" for n in apart))
        print(f"{len(bad)} do not compile with the others", flush=True)
    apart = sorted(set(apart) | together - set(lines))
    together &= set(lines)
    if run(binaries, 0, is_shown=True) != "missed":
        raise SystemExit("the tests fail without a mutant")
    print(f"{len(together)} in one build", flush=True)
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "1"))) as pool:
        for number, outcome in pool.map(lambda n: (n, run(binaries, n)), sorted(together)):
            note(number, outcome)
    print(f"{len(apart)} by themselves", flush=True)
    write([])
    for number in apart:
        mutant = mutants[number]
        source = sources[mutant["file"]]
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        a, b = (offset(starts, mutant["span"][end]) for end in ("start", "end"))
        (COPY / mutant["file"]).write_text(source[:a] + mutant["replacement"] + source[b:])
        # Most need no more than the tests that are built at once.
        for names in (["relinear", "miri"], ["all", "alloc"]):
            binaries, errors = build(names)
            outcome = "unviable" if errors else run(binaries, 0)
            if outcome != "missed":
                break
        note(number, outcome)
        (COPY / mutant["file"]).write_text(source)


main()
