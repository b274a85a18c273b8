#!/usr/bin/env python3
"""Makes seeds for the target `program` of the objects in tests/data: each program with the functions it may call.

usage: fuzz/seeds.py DIRECTORY
"""

import hashlib
import pathlib
import struct
import sys

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


def main():
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    data = pathlib.Path(__file__).parent.parent / "tests" / "data"
    for path in sorted(data.glob("*.o")):
        content = path.read_bytes()
        if content[5] != 1:  # not little-endian
            continue
        for slots in programs(content):
            if len(slots) > 8 * 512:
                continue
            for header in HEADERS:
                seed = header + MACHINE + slots
                (target / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


main()
