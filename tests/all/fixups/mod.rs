//! Passes that write what the kernel writes behind its verifier. What they are to write comes from
//! programs that were loaded into a kernel and read back.

mod blinding;
mod calls;
mod divisions;
#[cfg(target_os = "linux")]
pub(crate) mod live;
mod loops;
#[cfg(target_os = "linux")]
pub(crate) mod random;
mod subreg;

use relinear::bpf::{Aux, Bpf, Insn};
use relinear::passes::misc_fixups::{self, Host, Options, Report, Subprogs};
use relinear::passes::{self};
use relinear::{Arena, List};

/// The hidden register.
const AX: u8 = 11;

/// A slot from its fields.
const fn slot(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(code, dst, src, off, imm)
}

const EXIT: Insn = Insn::exit();

/// A program that went through some passes.
struct Edited {
    insns: Vec<Insn>,
    /// The facts of its slots.
    aux: Vec<Aux<u32>>,
}

/// Edits a program whose instructions were all seen. Their position is the user's part of their facts.
fn edited<E: From<relinear::Error>>(
    program: &[Insn],
    edit: impl FnOnce(&mut List<'_, Bpf, Aux<u32>>) -> Result<(), E>,
) -> Result<Edited, E> {
    let arena = Arena::new();
    let aux: Vec<_> =
        (0..).map(|user| Aux { seen: true, zext_dst: false, user }).take(program.len()).collect();
    let mut list = List::with_aux(&arena, program, &aux)?;
    edit(&mut list)?;
    let out = list.linearize()?;
    Ok(Edited { insns: out.units, aux: out.aux })
}

/// Runs [`misc_fixups::run`] over a program of one subprogram that uses no stack.
fn try_fixed<H: Host<u32>>(
    program: &[Insn],
    host: &H,
    options: &Options,
) -> Result<(Edited, Report), passes::Error> {
    let mut report = Report::default();
    let edited = edited(program, |list| {
        let mut subprogs = Subprogs { starts: &[0], stack: &mut [0] };
        report = misc_fixups::run(list, &mut subprogs, host, options)?;
        Ok::<_, passes::Error>(())
    });
    Ok((edited?, report))
}

fn fixed<H: Host<u32>>(program: &[Insn], host: &H, options: &Options) -> (Edited, Report) {
    try_fixed(program, host, options).expect("no error")
}
