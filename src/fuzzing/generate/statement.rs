//! Statements that only compute: arithmetic and constants.

use arbitrary::Result;

use super::Writer;
use crate::bpf::Insn;
use crate::bpf::opcode::{
    ADD, ALU, ALU64, AND, ARSH, DIV, END, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, JSET, JSGE, JSGT, JSLE,
    JSLT, K, LSH, MOD, MOV, MUL, NEG, OR, RSH, SIGNED, SUB, X, XOR,
};

const CONDITIONS: [u8; 11] = [JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE];

impl Writer<'_, '_> {
    pub(super) fn statement(&mut self, nest: usize) -> Result<()> {
        match self.u.int_in_range(0..=31)? {
            0..=11 => {
                let insn = self.arithmetic()?;
                self.push([insn]);
            }
            12..=13 => {
                let (dst, value) = (self.reg()?, self.u.arbitrary()?);
                self.push(Insn::ld_imm64(dst, value));
            }
            14..=16 => self.stack()?,
            17..=18 => self.atomic()?,
            19 if self.subprog == 0 => self.context()?,
            20 if self.subprog == 0 => self.packet()?,
            21 if self.subprog == 0 => self.load_packet()?,
            22 if !self.style.for_kernel => self.map_value()?,
            23 if !self.style.for_kernel => self.look_up()?,
            24 => self.helper()?,
            25..=26 => self.call()?,
            _ if nest > 0 => self.control(nest)?,
            _ => {
                let dst = self.reg()?;
                self.set(dst)?;
            }
        }
        Ok(())
    }

    fn arithmetic(&mut self) -> Result<Insn> {
        let (dst, src) = (self.reg()?, self.reg()?);
        let (wide, from_reg) = self.u.arbitrary::<(bool, bool)>()?;
        let (class, bits) = if wide { (ALU64, 64) } else { (ALU, 32) };
        let ops = [ADD, SUB, MUL, DIV, DIV, OR, AND, LSH, RSH, MOD, MOD, XOR, ARSH, NEG, MOV, MOV, MOV, END];
        let op = *self.u.choose(&ops)?;
        let signed = if self.u.arbitrary()? { SIGNED } else { 0 };
        Ok(match op {
            NEG => Insn::new(class | NEG | K, dst, 0, 0, 0),
            END => {
                let to = if wide || !from_reg { K } else { X };
                Insn::new(class | END | to, dst, 0, 0, *self.u.choose(&[16, 32, 64])?)
            }
            MOV if from_reg => {
                let narrow: &[i16] = if wide { &[0, 8, 16, 32] } else { &[0, 8, 16] };
                Insn::new(class | MOV | X, dst, src, *self.u.choose(narrow)?, 0)
            }
            DIV | MOD if from_reg => Insn::new(class | op | X, dst, src, signed, 0),
            DIV | MOD => {
                // A verifier refuses a constant zero.
                let imm = self.constant()?;
                Insn::new(class | op | K, dst, 0, signed, if imm == 0 { 3 } else { imm })
            }
            _ if from_reg => Insn::new(class | op | X, dst, src, 0, 0),
            LSH | RSH | ARSH => Insn::new(class | op | K, dst, 0, 0, self.u.int_in_range(0..=bits - 1)?),
            _ => Insn::new(class | op | K, dst, 0, 0, self.constant()?),
        })
    }

    /// A conditional jump of displacement 0. One in three compares constants.
    pub(super) fn condition(&mut self) -> Result<Insn> {
        let (dst, src) = (self.reg()?, self.reg()?);
        let class = if self.u.arbitrary()? { JMP } else { JMP32 };
        let op = *self.u.choose(&CONDITIONS)?;
        let imm = self.constant()?;
        Ok(match self.u.int_in_range(0..=2)? {
            0 => Insn::new(class | op | X, dst, src, 0, 0),
            1 => {
                // The ends of conditions are where they go wrong.
                let value = if self.u.arbitrary()? { self.constant()? } else { imm };
                let value = value.wrapping_add(self.u.int_in_range(-1..=1)?);
                self.push([Insn::mov64_imm(dst, value)]);
                Insn::new(class | op | K, dst, 0, 0, imm)
            }
            _ => Insn::new(class | op | K, dst, 0, 0, imm),
        })
    }

    /// Any register that holds a number.
    pub(super) fn reg(&mut self) -> Result<u8> {
        self.u.int_in_range(0..=8)
    }

    /// Small numbers, the ends of ranges, and anything.
    pub(super) fn constant(&mut self) -> Result<i32> {
        match self.u.int_in_range(0..=3)? {
            0 => self.u.int_in_range(-8..=8),
            1 => self.u.choose(&[0, 1, -1, i32::MIN, i32::MAX, 0xff, 0x7fff, -0x8000]).copied(),
            _ => self.u.arbitrary(),
        }
    }
}
