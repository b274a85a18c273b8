//! Programs for the tests: from text, and random ones that the kernel accepts.

use relinear::Isa;
use relinear::bpf::opcode::{CALL_LOCAL, LD_FUNC};
use relinear::bpf::{Bpf, Insn, Program, asm};

/// A program from text; every call or address of a subprogram starts one.
pub(crate) fn program(text: &str) -> Program {
    from_insns(asm::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// A program of these slots; every call or address of a subprogram starts one.
pub(crate) fn from_insns(insns: Vec<Insn>) -> Program {
    let mut subprogs = vec![0];
    let mut at = 0;
    while at < insns.len() {
        let insn = insns[at];
        if (insn.is_call() && insn.src() == CALL_LOCAL) || (insn.is_wide() && insn.src() == LD_FUNC) {
            let start = i64::from(slot(at)) + 1 + Bpf.read(&insns[at..], 0);
            subprogs.push(u32::try_from(start).expect("a start"));
        }
        at += insn.slots();
    }
    subprogs.sort_unstable();
    subprogs.dedup();
    Program { insns, subprogs, ..Program::default() }
}

/// A position as the library has it.
pub(crate) fn slot(at: usize) -> u32 {
    u32::try_from(at).expect("a short program")
}

/// A stream of random numbers (xorshift64*).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 33) % limit as u64).expect("below a usize")
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Small numbers, powers of two around the ends of the range, and anything.
    pub(crate) fn constant(&mut self) -> i32 {
        let word = self.next();
        match self.below(4) {
            0 => (word % 17) as i32 - 8,
            1 => [0, 1, -1, i32::MIN, i32::MAX, 0xff, 0x7fff, -0x8000][self.below(8)],
            _ => (word >> 32) as i32,
        }
    }
}

/// What a random program is made of.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Statements in each subprogram.
    pub(crate) statements: usize,
    /// Subprograms that `main` calls.
    pub(crate) callees: usize,
    /// Whether to put in code that control never reaches, which no kernel accepts.
    pub(crate) junk: bool,
    /// Whether `r1` is used as the other registers are; otherwise it is free after the start.
    pub(crate) use_r1: bool,
}

/// A random program for the traffic control hook, which returns a number made of all of its registers.
///
/// The same seed gives the same program with junk and without. `r9` counts loops, `r10` is the frame
/// pointer, all others hold numbers at all times. Memory is 8 words of stack.
pub(crate) fn traffic_control(seed: u64, shape: Shape) -> String {
    let mut writer =
        Writer { rng: Rng::new(seed), junk: Rng::new(!seed), shape, text: String::new(), labels: 0 };
    writer.line("r6 = *(u32 *)(r1 + 0)");
    writer.line("r0 = 7");
    writer.registers("r6");
    for callee in 0..shape.callees {
        writer.line(&format!("call sub{callee}"));
        writer.after_call();
    }
    writer.body();
    for callee in 0..shape.callees {
        writer.line(&format!("sub{callee}:"));
        writer.line("r0 = r1");
        writer.line("r6 = r2");
        writer.registers("r5");
        writer.body();
    }
    writer.text
}

struct Writer {
    rng: Rng,
    junk: Rng,
    shape: Shape,
    text: String,
    labels: usize,
}

const OPS: [&str; 6] = ["+=", "-=", "*=", "&=", "|=", "^="];
const CONDITIONS: [&str; 11] = ["==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"];

impl Writer {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("l{}", self.labels)
    }

    /// Gives all registers but `r0` and `r6` a number, and the stack too.
    fn registers(&mut self, input: &str) {
        for reg in [1, 2, 3, 4, 5, 7, 8] {
            let value = self.rng.constant();
            self.line(&format!("r{reg} = {value}"));
            if self.rng.one_in(3) {
                self.line(&format!("r{reg} += {input}"));
            }
        }
        self.line("r9 = 0");
        for word in 1..=8 {
            let value = self.rng.constant();
            self.line(&format!("*(u64 *)(r10 - {}) = {value}", word * 8));
        }
    }

    fn reg(&mut self) -> u8 {
        let reg = [0, 2, 3, 4, 5, 6, 7, 8, 1][self.rng.below(8 + usize::from(self.shape.use_r1))];
        u8::try_from(reg).expect("a register")
    }

    fn body(&mut self) {
        // Labels that control is still to come to, with the statements until then.
        let mut pending: Vec<(usize, String)> = Vec::new();
        let mut loop_end: Option<(usize, String)> = None;
        for left in (0..self.shape.statements).rev() {
            pending.retain(|(due, label)| {
                if *due >= left {
                    self.line(&format!("{label}:"));
                }
                *due < left
            });
            if let Some((due, label)) = &loop_end {
                if *due >= left && pending.is_empty() {
                    self.line(&format!("r9 -= 1\nif r9 != 0 goto {label}"));
                    loop_end = None;
                }
            } else if left > 8 && pending.is_empty() && self.rng.one_in(12) {
                let label = self.label();
                let turns = 1 + self.rng.below(3);
                self.line(&format!("r9 = {turns}\n{label}:"));
                loop_end = Some((left - 2 - self.rng.below(4), label));
            }
            if self.shape.junk && self.junk.one_in(6) {
                self.write_junk();
            }
            if self.rng.one_in(4) && left > 0 {
                let label = self.label();
                self.branch(&label);
                pending.push((left - 1 - self.rng.below(left.min(5)), label));
            } else {
                self.statement();
            }
        }
        for (_, label) in pending {
            self.line(&format!("{label}:"));
        }
        if let Some((_, label)) = loop_end {
            self.line(&format!("r9 -= 1\nif r9 != 0 goto {label}"));
        }
        let first = if self.shape.use_r1 { 1 } else { 2 };
        for reg in first..=9 {
            self.line(&format!("r0 ^= r{reg}"));
            self.line("r0 *= 31");
        }
        for word in 1..=8 {
            self.line(&format!("r2 = *(u64 *)(r10 - {})", word * 8));
            self.line("r0 ^= r2");
            self.line("r0 *= 31");
        }
        self.line("r2 = r0");
        self.line("r2 >>= 32");
        self.line("r0 ^= r2");
        self.line("exit");
    }

    fn branch(&mut self, label: &str) {
        let (dst, src) = (self.reg(), self.reg());
        let condition = self.rng.pick(&CONDITIONS);
        let width = self.rng.pick(&["r", "w"]);
        let constant = self.rng.constant();
        match self.rng.below(3) {
            0 => self.line(&format!("if {width}{dst} {condition} {width}{src} goto {label}")),
            1 => {
                // Operands that are constants for sure.
                let value = self.rng.constant();
                self.line(&format!("{width}{dst} = {value}"));
                self.line(&format!("if {width}{dst} {condition} {constant} goto {label}"));
            }
            _ => self.line(&format!("if {width}{dst} {condition} {constant} goto {label}")),
        }
    }

    fn statement(&mut self) {
        let (dst, src) = (self.reg(), self.reg());
        let width = self.rng.pick(&["r", "w"]);
        let constant = self.rng.constant();
        let word = 8 * (1 + self.rng.below(8));
        match self.rng.below(12) {
            0 => self.line(&format!("{width}{dst} = {constant}")),
            1 => {
                let value = self.rng.next().cast_signed();
                self.line(&format!("r{dst} = {value} ll"));
            }
            2 | 3 => {
                let op = self.rng.pick(&OPS);
                self.line(&format!("{width}{dst} {op} {width}{src}"));
            }
            4 => {
                let op = self.rng.pick(&["/=", "%=", "s/=", "s%="]);
                if self.rng.one_in(2) {
                    self.line(&format!("{width}{dst} {op} {width}{src}"));
                } else {
                    self.line(&format!("{width}{dst} {op} {}", if constant == 0 { 3 } else { constant }));
                }
            }
            5 => {
                let op = self.rng.pick(&["<<=", ">>=", "s>>="]);
                let count = self.rng.below(32);
                self.line(&format!("{width}{dst} {op} {count}"));
            }
            6 => match self.rng.below(3) {
                0 => self.line(&format!("{width}{dst} = -{width}{dst}")),
                1 => self.line(&format!("r{dst} = bswap32 r{dst}")),
                _ => self.line(&format!("{width}{dst} = (s16){width}{src}")),
            },
            7 => {
                let size = self.rng.pick(&["u64", "u32", "u16", "u8"]);
                self.line(&format!("*({size} *)(r10 - {word}) = {constant}"));
            }
            8 => match self.rng.below(3) {
                0 => self.line(&format!("*(u64 *)(r10 - {word}) = r{src}")),
                1 => self.line(&format!("r{dst} = *(u64 *)(r10 - {word})")),
                // Through a pointer, which is arithmetic with a constant that matters.
                _ if src != dst => {
                    self.line(&format!("r{dst} = r10"));
                    self.line(&format!("r{dst} += -{word}"));
                    self.line(&format!("*(u64 *)(r{dst} + 0) = r{src}"));
                    self.line(&format!("r{dst} = {constant}"));
                }
                _ => self.line(&format!("r{dst} += {constant}")),
            },
            9 if self.shape.callees > 0 && !self.text.contains("sub0:") => {
                let callee = self.rng.below(self.shape.callees);
                self.line(&format!("call sub{callee}"));
                self.after_call();
            }
            10 if self.rng.one_in(3) => {
                self.line("call 8");
                self.line("r0 = 5");
                self.after_call();
            }
            _ => {
                let op = self.rng.pick(&OPS);
                self.line(&format!("{width}{dst} {op} {constant}"));
            }
        }
    }

    fn after_call(&mut self) {
        for reg in 1..=5 {
            let value = self.rng.constant();
            self.line(&format!("r{reg} = {value}"));
        }
    }

    /// Code that control jumps over, and that nothing else leads to.
    fn write_junk(&mut self) {
        let label = self.label();
        self.line(&format!("goto {label}"));
        for _ in 0..=self.junk.below(3) {
            let reg = self.junk.below(9);
            match self.junk.below(4) {
                0 => self.line(&format!("if r{reg} > 1 goto {label}")),
                1 => self.line(&format!("r{reg} = 81985529216486895 ll")),
                2 => self.line("goto -1"),
                _ => self.line(&format!("r{reg} += 5")),
            }
        }
        self.line(&format!("{label}:"));
    }
}
