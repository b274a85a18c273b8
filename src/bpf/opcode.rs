//! The numbers an eBPF `code` byte and its variants are made of (RFC 9669, sections 3 to 5).
//!
//! The low three bits of a code are its class. For arithmetic and jumps, bit 3 says where the
//! second operand comes from ([`K`] or [`X`]) and bits 4 to 7 are the operation. For loads and
//! stores, bits 3 and 4 are the size and bits 5 to 7 the mode.

/// Class: loads that are not register-relative (`ld_imm64` and packet access).
pub const LD: u8 = 0;
/// Class: load from memory into a register.
pub const LDX: u8 = 1;
/// Class: store an immediate to memory.
pub const ST: u8 = 2;
/// Class: store a register to memory, and atomic operations.
pub const STX: u8 = 3;
/// Class: 32-bit arithmetic.
pub const ALU: u8 = 4;
/// Class: jumps that compare 64 bits, calls and exit.
pub const JMP: u8 = 5;
/// Class: jumps that compare 32 bits, and `gotol`.
pub const JMP32: u8 = 6;
/// Class: 64-bit arithmetic.
pub const ALU64: u8 = 7;

/// Source: the immediate.
pub const K: u8 = 0x00;
/// Source: the source register.
pub const X: u8 = 0x08;

/// Arithmetic: add.
pub const ADD: u8 = 0x00;
/// Arithmetic: subtract.
pub const SUB: u8 = 0x10;
/// Arithmetic: multiply.
pub const MUL: u8 = 0x20;
/// Arithmetic: divide; signed where `off` is [`SIGNED`].
pub const DIV: u8 = 0x30;
/// Arithmetic: or.
pub const OR: u8 = 0x40;
/// Arithmetic: and.
pub const AND: u8 = 0x50;
/// Arithmetic: shift left.
pub const LSH: u8 = 0x60;
/// Arithmetic: shift right, zeroes come in.
pub const RSH: u8 = 0x70;
/// Arithmetic: negate.
pub const NEG: u8 = 0x80;
/// Arithmetic: remainder; signed where `off` is [`SIGNED`].
pub const MOD: u8 = 0x90;
/// Arithmetic: exclusive or.
pub const XOR: u8 = 0xa0;
/// Arithmetic: move; sign-extending from `off` bits where `off` is 8, 16 or 32.
pub const MOV: u8 = 0xb0;
/// Arithmetic: shift right, copies of the sign bit come in.
pub const ARSH: u8 = 0xc0;
/// Arithmetic: change the byte order of the low `imm` bits.
pub const END: u8 = 0xd0;

/// `off` of a signed [`DIV`] or [`MOD`].
pub const SIGNED: i16 = 1;
/// `off` of a 64-bit register [`MOV`] that casts between address spaces.
pub const ADDR_SPACE_CAST: i16 = 1;

/// Jump: always.
pub const JA: u8 = 0x00;
/// Jump if equal.
pub const JEQ: u8 = 0x10;
/// Jump if greater, unsigned.
pub const JGT: u8 = 0x20;
/// Jump if greater or equal, unsigned.
pub const JGE: u8 = 0x30;
/// Jump if any bit of the second operand is set in the first.
pub const JSET: u8 = 0x40;
/// Jump if not equal.
pub const JNE: u8 = 0x50;
/// Jump if greater, signed.
pub const JSGT: u8 = 0x60;
/// Jump if greater or equal, signed.
pub const JSGE: u8 = 0x70;
/// Call.
pub const CALL: u8 = 0x80;
/// Return from the function.
pub const EXIT: u8 = 0x90;
/// Jump if less, unsigned.
pub const JLT: u8 = 0xa0;
/// Jump if less or equal, unsigned.
pub const JLE: u8 = 0xb0;
/// Jump if less, signed.
pub const JSLT: u8 = 0xc0;
/// Jump if less or equal, signed.
pub const JSLE: u8 = 0xd0;
/// Jump on a condition of the run time's own (`may_goto`).
pub const JCOND: u8 = 0xe0;

/// Size: 4 bytes.
pub const W: u8 = 0x00;
/// Size: 2 bytes.
pub const H: u8 = 0x08;
/// Size: 1 byte.
pub const B: u8 = 0x10;
/// Size: 8 bytes.
pub const DW: u8 = 0x18;

/// Mode: 64-bit immediate.
pub const IMM: u8 = 0x00;
/// Mode: packet access at a fixed offset.
pub const ABS: u8 = 0x20;
/// Mode: packet access at an offset from a register.
pub const IND: u8 = 0x40;
/// Mode: memory.
pub const MEM: u8 = 0x60;
/// Mode: memory, sign-extending.
pub const MEMSX: u8 = 0x80;
/// Mode: atomic operation, which `imm` names.
pub const ATOMIC: u8 = 0xc0;

/// Bit of an atomic's `imm`: the old value goes to the source register.
pub const FETCH: i32 = 0x01;
/// Atomic: exchange.
pub const XCHG: i32 = 0xe0 | FETCH;
/// Atomic: compare with `r0` and exchange.
pub const CMPXCHG: i32 = 0xf0 | FETCH;
/// Atomic: load-acquire.
pub const LOAD_ACQ: i32 = 0x100;
/// Atomic: store-release.
pub const STORE_REL: i32 = 0x110;

/// Code of `goto`: a jump by `off`.
pub const GOTO: u8 = JMP | JA;
/// Code of `gotol`: a jump by `imm`.
pub const GOTOL: u8 = JMP32 | JA;
/// Code of `gotox`: a jump to the address in a register, which comes from a jump table.
pub const GOTOX: u8 = JMP | JA | X;
/// Code of `may_goto`: a jump by `off` once the iteration budget is spent.
pub const MAY_GOTO: u8 = JMP | JCOND;
/// Code of a call; `src` is a `CALL_*` kind.
pub const CALL_CODE: u8 = JMP | CALL;
/// Code of `exit`.
pub const EXIT_CODE: u8 = JMP | EXIT;
/// Code of the first slot of `ld_imm64`; `src` is a `LD_*` kind.
pub const LD_IMM64: u8 = LD | IMM | DW;

/// Call kind: `imm` is the number of a helper.
pub const CALL_HELPER: u8 = 0;
/// Call kind: `imm` is the displacement to a subprogram, in slots.
pub const CALL_LOCAL: u8 = 1;
/// Call kind: `imm` is the BTF id of a kernel function, `off` says in which BTF.
pub const CALL_KFUNC: u8 = 2;

/// `ld_imm64` kind: the number itself.
pub const LD_NUMBER: u8 = 0;
/// `ld_imm64` kind: the map with a file descriptor.
pub const LD_MAP_FD: u8 = 1;
/// `ld_imm64` kind: an address in the value of the map with a file descriptor.
pub const LD_MAP_VALUE: u8 = 2;
/// `ld_imm64` kind: the address of a kernel variable or function with a BTF id.
pub const LD_BTF_ID: u8 = 3;
/// `ld_imm64` kind: a subprogram, by its displacement in slots.
pub const LD_FUNC: u8 = 4;
/// `ld_imm64` kind: the map at an index of the loader's array.
pub const LD_MAP_IDX: u8 = 5;
/// `ld_imm64` kind: an address in the value of the map at an index of the loader's array.
pub const LD_MAP_IDX_VALUE: u8 = 6;

/// The highest register a program may name: the frame pointer, `r10`.
pub const FRAME_POINTER: u8 = 10;
/// The scratch register of the kernel's own patches, in kernels up to 6.18.
pub const AX: u8 = 11;
/// The base of the arguments beyond the fifth, which a caller leaves on the stack: `r11` in programs of LLVM 23 for kernels
/// whose [`AX`] is another one. It may be named by loads and stores alone.
pub const STACK_ARGUMENTS: u8 = 11;
