//! Random programs with access to their context, and writes to their packet, against the running kernel.

use std::error::Error;

use relinear::List;
use relinear::bpf::opcode::{ADD, AX, B, DW, FRAME_POINTER, H, JGT, LDX, MEM, MEMSX, ST, STX, W};
use relinear::bpf::{Aux, Bpf, Insn};
use relinear::passes::ctx::{Memory, Options, direct_write, run};
use relinear::passes::misc_fixups::{self, MayGoto, PacketLoads, Subprogs};
use relinear::passes::{self, rnd_hi32, zext};

use super::running::{is_of_tstamp_type, running};
use crate::differential::compare::{Kind, Rewriter, compare};
use crate::differential::generate::{Config, Hook, Sample, Scope, Statement};
use crate::differential::image::Image;
use crate::differential::{edited, remove_dead};
use crate::fixups::live::{RND_HI32, kernel_6_18};
use crate::fixups::random::{may_goto, stack};

/// The register through which programs write to their packet. All others but the frame pointer that loads and stores
/// go through hold the context.
const PACKET: u8 = 2;

const LIBRARY: &[(&str, Rewriter)] = &[("the library", rewritten)];

#[test]
fn packets() {
    check("access to contexts of XDP", Hook::Xdp, &[packet_load, packet_load, packet_write]);
}

#[test]
fn traffic() {
    check("access to contexts of traffic control", Hook::TrafficControl, &[load, load, store]);
}

#[test]
fn traffic_that_is_written_to() {
    let statements: &[Statement] = &[load, store, packet_write];
    check("access to contexts and packets of traffic control", Hook::TrafficControl, statements);
}

fn check(name: &'static str, hook: Hook, more: &'static [Statement]) {
    if running().is_some() {
        let config = Config { more, ..Config::control_flow(hook) };
        compare(&Kind { name, config, hardened: false, rewriters: LIBRARY });
    }
}

/// With the passes that come after, which rest on the facts that this one leaves, and put code in front of its code.
#[test]
fn all_passes() {
    if running().is_some() && kernel_6_18().is_some() {
        let config = Config {
            flags: RND_HI32,
            div: true,
            ld_abs: true,
            // A few loops with ways out that nobody knows are too much for the verifier.
            loops: false,
            more: &[load, store, packet_write, may_goto],
            ..Config::control_flow(Hook::TrafficControl)
        };
        let rewriters: &[(&str, Rewriter)] = &[("the library", |sample| rewritten_by(sample, finish))];
        compare(&Kind { name: "access to contexts and all passes", config, hardened: false, rewriters });
    }
}

/// A list under edit, of a program.
type Finish = fn(&Sample, &mut List<'_, Bpf, Aux>) -> Result<(), passes::Error>;

fn finish(sample: &Sample, list: &mut List<'_, Bpf, Aux>) -> Result<(), passes::Error> {
    let options = misc_fixups::Options {
        packet_loads: Some(PacketLoads { byte: 0, half: 0, word: 0 }),
        may_goto: Some(MayGoto::Timed { check: 0 }),
        ..misc_fixups::Options::default()
    };
    let (program, mut stack) = (sample.program(), stack(sample));
    let mut subprogs = Subprogs { starts: &program.subprogs, stack: &mut stack };
    misc_fixups::run(list, &mut subprogs, &(), &options)?;
    zext::run(list, &zext::Options::default())?;
    rnd_hi32::run(list, &rnd_hi32::Options { seed: 0, ax: AX }, |_| false)?;
    Ok(())
}

/// What the library makes of a program.
fn rewritten(sample: &Sample) -> Result<Image, Box<dyn Error>> {
    rewritten_by(sample, |_, _| Ok(()))
}

fn rewritten_by(sample: &Sample, finish: Finish) -> Result<Image, Box<dyn Error>> {
    let running = running().ok_or("there are no structures")?;
    let is_seen = |(insn, aux): (&Insn, &Aux)| aux.seen.then_some(*insn);
    let seen: Vec<Insn> = sample.image.insns.iter().zip(&sample.facts).filter_map(is_seen).collect();
    let table = match sample.hook {
        Hook::Xdp => &running.packets,
        _ => &running.traffic[usize::from(seen.iter().any(|insn| is_of_tstamp_type(*insn)))],
    };
    let memory = |insn: Insn| match base(insn) {
        FRAME_POINTER | PACKET => Memory::Plain,
        _ => Memory::Context(table),
    };
    let writes = seen.iter().any(|insn| is_packet_write(*insn)) && sample.hook == Hook::TrafficControl;
    let prologue = if writes { direct_write(running.skb.cloned, 2).to_vec() } else { Vec::new() };
    let options = Options { prologue: &prologue, ..Options::default() };
    edited(sample, |list| {
        remove_dead(list)?;
        run(list, &options, |site| memory(site.insn).into())?;
        finish(sample, list)
    })
}

fn base(insn: Insn) -> u8 {
    if insn.class() == LDX { insn.src() } else { insn.dst() }
}

fn is_packet_write(insn: Insn) -> bool {
    matches!(insn.class(), ST | STX) && base(insn) == PACKET
}

/// A register that holds the context now: the one that always does, or a copy.
fn context(scope: &mut Scope<'_>) -> Option<u8> {
    let always = scope.context()?;
    if scope.rng.one_in(2) {
        return Some(always);
    }
    let copy = [0, 1, 3, 4, 5][scope.rng.below(5)];
    scope.push(Insn::mov64_reg(copy, always));
    scope.forget(copy);
    Some(copy)
}

/// Loads into any register: the one that points to the context, too, if that is a copy.
fn load_at(scope: &mut Scope<'_>, mode: u8, size: u8, off: i16) -> Option<u8> {
    let ctx = context(scope)?;
    let dst = if ctx < 6 && scope.rng.one_in(4) { ctx } else { scope.scratch() };
    scope.push(Insn::new(LDX | mode | size, dst, ctx, off, 0));
    Some(dst)
}

/// Words that can be loaded in part, from where to where, in bytes.
const WORDS: [(i16, i16); 7] = [(0, 48), (68, 76), (84, 88), (160, 168), (176, 180), (4, 8), (16, 24)];
/// Pointers, of 32 bits.
const POINTERS: [i16; 3] = [76, 80, 140];

fn load(scope: &mut Scope<'_>) {
    let mode = if scope.rng.one_in(4) { MEMSX } else { MEM };
    let (size, bytes) = [(B, 1), (H, 2), (W, 4)][scope.rng.below(3)];
    match scope.rng.below(8) {
        0 => {
            let at = POINTERS[scope.rng.below(3)];
            if let Some(dst) = load_at(scope, MEM, W, at) {
                scope.forget(dst);
            }
        }
        1 => {
            let at = [152, 184, 48, 56][scope.rng.below(4)];
            load_at(scope, MEM, DW, at);
        }
        2 => {
            // A socket, or none.
            if let Some(dst) = load_at(scope, MEM, DW, 168) {
                scope.forget(dst);
            }
        }
        3 => {
            let at = 48 + scope.rng.below(20 / bytes) * bytes;
            load_at(scope, mode, size, i16::try_from(at).expect("a small number"));
        }
        4 if scope.rng.one_in(8) => drop(load_at(scope, mode, B, 180)),
        _ => {
            let (start, end) = WORDS[scope.rng.below(WORDS.len())];
            let parts = usize::try_from(end - start).expect("a length") / bytes;
            let at = i16::try_from(scope.rng.below(parts) * bytes).expect("a small number");
            load_at(scope, mode, size, start + at);
        }
    }
}

fn store(scope: &mut Scope<'_>) {
    let (off, size) = match scope.rng.below(8) {
        0 => (152, DW),
        1 => (48 + 8 * i16::from(scope.rng.one_in(2)), DW),
        2 | 3 => {
            let (size, bytes) = [(B, 1), (H, 2), (W, 4)][scope.rng.below(3)];
            (48 + i16::try_from(scope.rng.below(20 / bytes) * bytes).expect("a small number"), size)
        }
        4 | 5 => (12, W),
        _ => ([8, 32, 44, 72][scope.rng.below(4)], W),
    };
    let Some(ctx) = context(scope) else { return };
    if scope.rng.one_in(2) {
        let value = scope.number();
        scope.push(Insn::stx(size, ctx, value, off));
    } else {
        let value = if scope.rng.one_in(4) { 0xffff } else { scope.rng.constant() };
        scope.push(Insn::st(size, ctx, off, value));
    }
}

fn packet_load(scope: &mut Scope<'_>) {
    let at = 4 * i16::try_from(scope.rng.below(5)).expect("a small number");
    let mode = if at >= 12 && scope.rng.one_in(3) { MEMSX } else { MEM };
    if let Some(dst) = load_at(scope, mode, W, at)
        && at < 12
    {
        scope.forget(dst);
    }
}

/// Writes to the packet, if it is long enough.
fn packet_write(scope: &mut Scope<'_>) {
    let (data, end) = if scope.config.hook == Hook::Xdp { (0, 4) } else { (76, 80) };
    let Some(ctx) = context(scope) else { return };
    let mut free = (3..6).filter(|reg| *reg != ctx);
    let (Some(limit), Some(last)) = (free.next(), free.next()) else { return };
    scope.push(Insn::ldx(W, PACKET, ctx, data));
    scope.push(Insn::ldx(W, limit, ctx, end));
    scope.push(Insn::mov64_reg(last, PACKET));
    scope.push(Insn::alu64_imm(ADD, last, 8));
    let off = i16::try_from(scope.rng.below(8)).expect("a small number");
    let store = if scope.rng.one_in(2) { Insn::stx(B, PACKET, 7, off) } else { Insn::st(B, PACKET, off, 1) };
    scope.push_together(&[Insn::jmp_reg(JGT, last, limit, 1), store]);
    for reg in [PACKET, limit, last] {
        scope.forget(reg);
    }
}
