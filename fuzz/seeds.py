#!/usr/bin/env python3
"""Makes seeds for a fuzz target of what is in tests/.

- asm: texts and slots that llvm-objdump agrees with, and the code of the objects in tests/data;
- object: those objects, without what is for debuggers only;
- program: each program in them, with the functions it may call.

The other targets make things up, and need no seeds. `fuzz/seeds.sh` makes those of all targets.

usage: fuzz/seeds.py TARGET DIRECTORY
"""

import hashlib
import pathlib
import struct
import subprocess
import sys
import tempfile

EXECUTABLE, PROGBITS, SYMTAB, REL = 4, 1, 2, 9
R_BPF_64_64, R_BPF_64_32 = 1, 10
LD_IMM64, CALL = 0x18, 0x85
CALL_LOCAL, LD_FUNC, LD_MAP_IDX, LD_MAP_IDX_VALUE = 1, 4, 5, 6

# Slots as they come, each of these sets of passes; no byte that is 0 would say more.
HEADERS = [bytes([1, passes, 2, 7, 255, 0, 0, 0]) for passes in (0x01, 0x14, 0x20, 0x40, 0x75)]
MACHINE = bytes(range(16))


def sections(data):
    """The sections of a little-endian ELF64: (type, flags, link, info, bytes)."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    for at in range(table, table + size * count, size):
        kind, flags, _, start, length, link, info = struct.unpack_from("<4xIQQQQII", data, at)
        yield kind, flags, link, info, data[start : start + length] if kind != 8 else b""


def programs(data):
    """The slots of each program, its functions behind it, references resolved."""
    all_sections = list(sections(data))
    symbols = [
        struct.unpack_from("<4xBxHQ", table, at)
        for kind, _, _, _, table in all_sections if kind == SYMTAB
        for at in range(0, len(table), 24)
    ]
    code = {
        number: content
        for number, (kind, flags, _, _, content) in enumerate(all_sections)
        if kind == PROGBITS and flags & EXECUTABLE and content
    }
    # Functions that programs share are in the first section, `.text`.
    text = min(code, default=None)
    for number, content in code.items():
        parts = [number] if number == text else [number, text]
        yield link(parts, code, all_sections, symbols)


def link(parts, code, all_sections, symbols):
    bases, slots = {}, bytearray()
    for part in parts:
        bases[part] = len(slots) // 8
        slots += code[part]
    for kind, _, _, target, content in all_sections:
        if kind != REL or target not in bases:
            continue
        for at in range(0, len(content), 16):
            offset, info = struct.unpack_from("<QQ", content, at)
            _, section, value = symbols[info >> 32]
            slot = bases[target] + offset // 8
            opcode, registers, off, imm = struct.unpack_from("<BBhi", slots, slot * 8)
            if section in bases and info & 0xFFFFFFFF in (R_BPF_64_64, R_BPF_64_32):
                # The place in the section: of a call, from the next slot; else in bytes.
                addend = imm + 1 if opcode == CALL else imm // 8
                imm = bases[section] + value // 8 + addend - slot - 1
                kind_of = CALL_LOCAL if opcode == CALL else LD_FUNC
            elif opcode == LD_IMM64:
                # Maps are in .maps, global variables in sections of their own.
                imm, kind_of = value // 32 % 2, LD_MAP_IDX if info & 1 and not imm else LD_MAP_IDX_VALUE
            else:
                continue
            struct.pack_into("<BBhi", slots, slot * 8, opcode, registers & 15 | kind_of << 4, off, imm)
    return bytes(slots)


TESTS = pathlib.Path(__file__).parent.parent / "tests"
LITTLE, BIG = 1, 2
# Longer seeds slow a fuzzer down.
MOST = 16384


def objects():
    """The objects in tests/data, with their names."""
    for path in sorted(TESTS.glob("data/**/*.o")):
        yield path, path.read_bytes()


def program_seeds():
    for _, data in objects():
        if data[5] != LITTLE:
            continue
        for slots in programs(data):
            if len(slots) <= 8 * 512:
                for header in HEADERS:
                    yield header + MACHINE + slots


def asm_seeds():
    texts, slots = [], []
    for line in (TESTS / "all" / "llvm.txt").read_text().splitlines():
        if not line.startswith("#"):
            code, text = line.split("\t")
            texts.append(text)
            slots.append(bytes.fromhex(code))
    for at in range(0, len(texts), 8):
        yield "\n".join(texts[at : at + 8]).encode()
        yield b"".join(slots[at : at + 8])
    yield b"a: r0 = 1 ; one\nif r0 == 5 goto a // two\ngotol b\ncall a\nr1 = subprog[b] ll\nmay_goto a\nb: exit\n"
    for _, data in objects():
        if data[5] == LITTLE:
            for kind, flags, _, _, content in sections(data):
                if kind == PROGBITS and flags & EXECUTABLE:
                    yield content[:512]


def object_seeds():
    for path, _ in objects():
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run(["llvm-objcopy-16", "--strip-debug", path, out.name], check=True)
            data = pathlib.Path(out.name).read_bytes()
            if len(data) <= MOST:
                yield data


def main():
    seeds = {"asm": asm_seeds, "object": object_seeds, "program": program_seeds}[sys.argv[1]]
    target = pathlib.Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (target / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


main()
