//! A walk over the tokens of one line: the small pieces that instructions are made of.

use super::error::{AsmReason, Fault};
use super::lex::Tok;
use super::template::FIRST_SCRATCH;
use crate::bpf::syntax::HIGHEST;

/// A register as it is written, `r1` or `w1`, and the byte of its line.
#[derive(Clone, Copy)]
pub(super) struct Reg {
    pub(super) number: u8,
    pub(super) wide: bool,
    at: usize,
}

/// The name in braces that a word is, and whether it stands for all 64 bits of its register.
pub(super) fn in_braces(word: &str) -> Option<(&str, bool)> {
    let inner = word.strip_suffix('}')?;
    match inner.strip_prefix('{') {
        Some(name) => Some((name, true)),
        None => Some((inner.strip_prefix("w{")?, false)),
    }
}

impl Reg {
    fn named(word: &str, at: usize, scratch: &[&str]) -> Option<Self> {
        if let Some((name, wide)) = in_braces(word) {
            let number = scratch.iter().position(|other| *other == name)?;
            let number = FIRST_SCRATCH + u8::try_from(number).ok()?;
            return Some(Self { number, wide, at });
        }
        let wide = word.starts_with('r');
        let digits = word.strip_prefix(['r', 'w'])?;
        let number = digits.parse().ok().filter(|&number| number <= HIGHEST)?;
        // Other spellings of a number, like "07" and "+7", name no register.
        let plain = digits == "0" || digits.starts_with(|c| matches!(c, '1'..='9'));
        plain.then_some(Self { number, wide, at })
    }

    /// Complains unless it has 64 bits if `wide`, else 32.
    pub(super) fn must_be_wide(self, wide: bool) -> Result<(), Fault> {
        match (self.wide == wide, wide) {
            (true, _) => Ok(()),
            (false, true) => Err(Fault::expected(self.at, "a 64-bit register: r0 to r12")),
            (false, false) => Err(Fault::expected(self.at, "a 32-bit register: w0 to w12")),
        }
    }

    pub(super) fn must_be_zero(self) -> Result<(), Fault> {
        if self.number == 0 { Ok(()) } else { Err(Fault::expected(self.at, "register 0")) }
    }
}

/// A number with its sign, and the byte of its line.
pub(super) struct Number {
    pub(super) value: i128,
    pub(super) at: usize,
}

impl Number {
    /// The number in the type of its field.
    pub(super) fn fitted<T: Field>(&self) -> Result<T, Fault> {
        let &Self { value, at } = self;
        let (min, max) = T::RANGE;
        T::try_from(value).map_err(|_| Fault { at, reason: AsmReason::Range { value, min, max } })
    }
}

/// Where an instruction goes.
pub(super) enum Target<'a> {
    Displacement(Number),
    Label(&'a str, usize),
}

pub(super) struct Cursor<'t, 'a> {
    tokens: &'t [(Tok<'a>, usize)],
    next: usize,
    /// The names in braces.
    scratch: &'t [&'a str],
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// On the first of `tokens`, the last of which is [`Tok::End`]. `scratch` are the names in braces among them.
    pub(super) fn new(tokens: &'t [(Tok<'a>, usize)], scratch: &'t [&'a str]) -> Self {
        Self { tokens, next: 0, scratch }
    }

    /// The token `ahead` places after the next one.
    fn token(&self, ahead: usize) -> (Tok<'a>, usize) {
        self.tokens[(self.next + ahead).min(self.tokens.len() - 1)]
    }

    pub(super) fn peek(&self) -> Tok<'a> {
        self.token(0).0
    }

    pub(super) fn peek_second(&self) -> Tok<'a> {
        self.token(1).0
    }

    /// The byte at which the next token starts.
    pub(super) fn at(&self) -> usize {
        self.token(0).1
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// Complains about the next token.
    pub(super) fn expected<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault::expected(self.at(), what))
    }

    pub(super) fn eat(&mut self, token: Tok<'_>) -> bool {
        let found = self.peek() == token;
        self.next += usize::from(found);
        found
    }

    /// Takes the operators and brackets `ops`, one after the other.
    pub(super) fn ops<const N: usize>(&mut self, ops: [&'static str; N]) -> Result<(), Fault> {
        for op in ops {
            if !self.eat(Tok::Op(op)) {
                return self.expected(op);
            }
        }
        Ok(())
    }

    pub(super) fn keyword(&mut self, word: &'static str) -> Result<(), Fault> {
        if self.eat(Tok::Word(word)) { Ok(()) } else { self.expected(word) }
    }

    /// An entry of a table of words or operators.
    pub(super) fn choice<T: Copy>(
        &mut self,
        table: &[(T, &'static str)],
        what: &'static str,
    ) -> Result<T, Fault> {
        let (Tok::Word(text) | Tok::Op(text)) = self.peek() else { return self.expected(what) };
        match crate::bpf::syntax::key(table, text) {
            Some(key) => {
                self.advance();
                Ok(key)
            }
            None => self.expected(what),
        }
    }

    fn next_reg(&self) -> Option<Reg> {
        let Tok::Word(word) = self.peek() else { return None };
        Reg::named(word, self.at(), self.scratch)
    }

    pub(super) fn is_reg(&self) -> bool {
        self.next_reg().is_some()
    }

    pub(super) fn reg(&mut self) -> Result<Reg, Fault> {
        let Some(reg) = self.next_reg() else {
            return self.expected("a register: r0 to r12, or w0 to w12 for the low 32 bits");
        };
        self.advance();
        Ok(reg)
    }

    /// A register of 64 bits if `wide`, else of 32.
    pub(super) fn reg_of(&mut self, wide: bool) -> Result<u8, Fault> {
        let reg = self.reg()?;
        reg.must_be_wide(wide)?;
        Ok(reg.number)
    }

    /// The register `reg`, which the syntax repeats.
    pub(super) fn same(&mut self, reg: Reg) -> Result<(), Fault> {
        let found = self.reg()?;
        if (found.number, found.wide) == (reg.number, reg.wide) {
            return Ok(());
        }
        Err(Fault::expected(found.at, "the register that the line begins with"))
    }

    pub(super) fn is_sign(&self) -> bool {
        matches!(self.peek(), Tok::Op("+" | "-"))
    }

    pub(super) fn is_number(&self) -> bool {
        self.is_sign() || matches!(self.peek(), Tok::Number(_))
    }

    /// A number with an optional sign.
    pub(super) fn number(&mut self) -> Result<Number, Fault> {
        let at = self.at();
        let negative = self.eat(Tok::Op("-"));
        if !negative {
            self.eat(Tok::Op("+"));
        }
        let Tok::Number(magnitude) = self.peek() else { return self.expected("a number") };
        self.advance();
        let magnitude = i128::from(magnitude);
        Ok(Number { value: if negative { -magnitude } else { magnitude }, at })
    }

    /// A number of the type of its field.
    pub(super) fn field<T: Field>(&mut self) -> Result<T, Fault> {
        self.number()?.fitted()
    }

    /// A displacement, which has a sign, or a label.
    pub(super) fn target(&mut self) -> Result<Target<'a>, Fault> {
        if self.is_sign() {
            return self.number().map(Target::Displacement);
        }
        let at = self.at();
        match self.peek() {
            Tok::Word(word) if !self.is_reg() => {
                self.advance();
                Ok(Target::Label(word, at))
            }
            _ => self.expected("a label, or a displacement with its sign"),
        }
    }

    /// An address in parentheses: `(r1 + 0x8)`.
    pub(super) fn memory(&mut self) -> Result<(u8, i16), Fault> {
        self.ops(["("])?;
        let address = self.address()?;
        self.ops([")"])?;
        Ok(address)
    }

    /// A register and an offset: `r1 + 0x8`.
    pub(super) fn address(&mut self) -> Result<(u8, i16), Fault> {
        let base = self.reg_of(true)?;
        if !self.is_sign() {
            return self.expected("+ or -");
        }
        Ok((base, self.field()?))
    }
}

/// The type of a field of an instruction.
pub(super) trait Field: TryFrom<i128> {
    /// The least and the most it holds.
    const RANGE: (i128, i128);
}

impl Field for u8 {
    const RANGE: (i128, i128) = (0, u8::MAX as i128);
}

impl Field for i16 {
    const RANGE: (i128, i128) = (i16::MIN as i128, i16::MAX as i128);
}

impl Field for i32 {
    const RANGE: (i128, i128) = (i32::MIN as i128, i32::MAX as i128);
}
