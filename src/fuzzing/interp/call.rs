//! Calls: of subprograms, of helpers, and of callbacks by a helper.

use std::vec::Vec;

use super::fault::Reason;
use super::machine::{HelperCall, Machine};
use super::memory::{APART, MAPS, VALUES};
use super::run::{Flow, Run};
use crate::bpf::Insn;
use crate::bpf::opcode::{CALL_HELPER, CALL_LOCAL};

/// The most calls within each other (`MAX_CALL_FRAMES` in the kernel).
const MAX_FRAMES: usize = 8;
/// The most turns of `bpf_loop` (`BPF_MAX_LOOPS` in the kernel).
const MAX_TURNS: u32 = 1 << 23;

const MAP_LOOKUP_ELEM: i32 = 1;
const KTIME_GET_NS: i32 = 5;
const TRACE_PRINTK: i32 = 6;
const GET_PRANDOM_U32: i32 = 7;
const GET_SMP_PROCESSOR_ID: i32 = 8;
const LOOP: i32 = 181;

const EFAULT: i64 = 14;
const EINVAL: i64 = 22;
const E2BIG: i64 = 7;

/// A call that has not returned.
pub(super) struct Frame {
    /// What `r6` to `r9` held before.
    saved: [Option<u64>; 4],
    /// The slot of the call.
    from: usize,
    turns: Option<Turns>,
    /// How often `may_goto` still goes on.
    may_goto: u64,
}

/// The loop of `bpf_loop`.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    function: i64,
    context: u64,
    /// Which turn this is.
    at: u32,
    count: u32,
}

impl Frame {
    /// Takes one from what `may_goto` has left. Whether there was one.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.may_goto.checked_sub(1);
        self.may_goto = left.unwrap_or(0);
        left.is_some()
    }
}

impl Run<'_> {
    pub(super) fn call(&mut self, insn: Insn) -> Result<Flow, Reason> {
        match insn.src() {
            CALL_LOCAL => {
                if self.frames.len() == MAX_FRAMES {
                    return Err(Reason::Depth);
                }
                self.forget(0);
                self.enter(self.at, None);
                Ok(Flow::By(insn.imm.into()))
            }
            CALL_HELPER if insn.imm == LOOP => self.begin_loop(),
            CALL_HELPER => {
                let value = self.helper(insn.imm)?;
                self.scratch_caller_saved();
                self.write(0, value)?;
                Ok(Flow::Next)
            }
            _ => Err(Reason::Unsupported),
        }
    }

    /// Begins a frame for code that was called at the slot `from`.
    pub(super) fn enter(&mut self, from: usize, turns: Option<Turns>) {
        let depth = self.frames.len() as u64;
        let frame = self.machine.frame;
        self.memory.push(self.frame_pointer(depth) - frame as u64, std::vec![0; frame]);
        let saved = self.take_callee_saved();
        self.put_callee_saved([None; 4], depth);
        self.frames.push(Frame { saved, from, turns, may_goto: self.machine.may_goto });
    }

    /// Returns from the function.
    pub(super) fn exit(&mut self) -> Result<Flow, Reason> {
        let result = self.read(0)?;
        let Some(frame) = self.frames.pop() else { return Ok(Flow::Out) };
        self.memory.pop();
        let Some(depth) = self.frames.len().checked_sub(1) else { return Ok(Flow::Out) };
        self.scratch_caller_saved();
        self.put_callee_saved(frame.saved, depth as u64);
        self.at = frame.from;
        match frame.turns {
            Some(turns) if result == 0 => self.turn(Turns { at: turns.at + 1, ..turns }),
            Some(turns) => self.end_loop(turns.at + 1),
            None => {
                self.write(0, result)?;
                Ok(Flow::Next)
            }
        }
    }

    /// `bpf_loop(count, function, context, flags)`.
    fn begin_loop(&mut self) -> Result<Flow, Reason> {
        let [count, function, context, flags] = [self.read(1)?, self.read(2)?, self.read(3)?, self.read(4)?];
        let error = |number: i64| Some((-number).cast_unsigned());
        let count = u32::try_from(count).ok().filter(|count| *count <= MAX_TURNS);
        let refused = if flags != 0 {
            error(EINVAL)
        } else if count.is_none() {
            error(E2BIG)
        } else {
            None
        };
        self.scratch_caller_saved();
        if let Some(error) = refused {
            self.write(0, error)?;
            return Ok(Flow::Next);
        }
        let to = function.wrapping_sub(self.function(0));
        let function = i64::try_from(to).map_err(|_| Reason::Function(function))?;
        self.turn(Turns { function, context, at: 0, count: count.unwrap_or_default() })
    }

    /// Calls the callback of a loop, or ends it.
    fn turn(&mut self, turns: Turns) -> Result<Flow, Reason> {
        if turns.at == turns.count {
            return self.end_loop(turns.at);
        }
        if self.frames.len() == MAX_FRAMES {
            return Err(Reason::Depth);
        }
        self.enter(self.at, Some(turns));
        self.write(1, turns.at.into())?;
        self.write(2, turns.context)?;
        Ok(Flow::To(turns.function))
    }

    fn end_loop(&mut self, turns: u32) -> Result<Flow, Reason> {
        self.write(0, turns.into())?;
        Ok(Flow::Next)
    }

    /// Calls a helper. What it gives is made up, but for map values: it depends on earlier calls only.
    fn helper(&mut self, helper: i32) -> Result<u64, Reason> {
        if let Some(log) = Machine::PACKET_LOADS.iter().position(|number| *number == helper) {
            let value = self.packet_value(self.read(1)?, self.read(2)?, 1 << log)?;
            return Ok(value.unwrap_or((-EFAULT).cast_unsigned()));
        }
        let arguments = match helper {
            KTIME_GET_NS | GET_PRANDOM_U32 | GET_SMP_PROCESSOR_ID => 0,
            MAP_LOOKUP_ELEM => 2,
            TRACE_PRINTK => 5,
            _ => return Err(Reason::Helper(helper)),
        };
        let arguments = (1..=arguments).map(|reg| self.read(reg)).collect::<Result<Vec<_>, _>>()?;
        let value = match (helper, &arguments[..]) {
            (MAP_LOOKUP_ELEM, &[map, key]) => self.look_up(map, key)?,
            (GET_SMP_PROCESSOR_ID, _) => 0,
            _ => (self.trace.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32,
        };
        self.trace.push(HelperCall { helper, arguments });
        Ok(value)
    }

    /// The address of the value in a map whose index is at `key`, or 0.
    fn look_up(&self, map: u64, key: u64) -> Result<u64, Reason> {
        let number = map.wrapping_sub(MAPS);
        let values = usize::try_from(number).ok().and_then(|number| self.machine.maps.get(number));
        let values = values.ok_or(Reason::Map(-1))?;
        let offset = self.memory.load(key, 4)? * values.size as u64;
        let exists = offset + values.size as u64 <= values.bytes.len() as u64;
        Ok(if exists { VALUES + number * APART + offset } else { 0 })
    }
}
