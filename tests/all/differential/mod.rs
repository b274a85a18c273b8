//! The kernel's own rewriting of a program, against ours: random programs are loaded into the running
//! kernel, and what it made of their instructions, line records and function records is read back.
//!
//! `RELINEAR_DIFFERENTIAL_COUNT` and `RELINEAR_DIFFERENTIAL_SEED` say how many programs of each kind
//! there are and which seed the first one has.

pub(crate) mod btf;
pub(crate) mod compare;
pub(crate) mod generate;
pub(crate) mod image;
pub(crate) mod load;
mod model;

use std::error::Error;

use relinear::bpf::opcode::{AX, CALL_KFUNC, CALL_LOCAL, LD_FUNC};
use relinear::bpf::{Aux, Bpf, EditError, Insn, Program};
use relinear::passes::{self, blind, hard_wire_dead_branches, remove_dead_code, remove_nops};
use relinear::{Arena, List, Patch};

use compare::{Kind, Rewriter, compare};
use generate::{Config, Hook, Sample};
use image::Image;
use model::Model;

/// What the library makes of a program, with all edits over one list.
pub(crate) fn edited(
    sample: &Sample,
    edit: impl FnOnce(&mut List<'_, Bpf, Aux>) -> Result<(), passes::Error>,
) -> Result<Image, Box<dyn Error>> {
    let (program, arena) = (sample.program(), Arena::new());
    let mut editor = program.edit(&arena)?;
    edit(editor.list())?;
    Ok(editor.linearize()?.into())
}

/// What the kernel does first of all.
pub(crate) fn remove_dead(list: &mut List<'_, Bpf, Aux>) -> Result<(), passes::Error> {
    hard_wire_dead_branches::run(list)?;
    remove_dead_code::run(list)?;
    remove_nops::run(list, &remove_nops::Options::default())?;
    Ok(())
}

/// Both, for programs of each hook.
const DEAD: &[(&str, Rewriter)] = &[
    ("the model", |sample| {
        let mut model = Model::new(sample);
        model.remove_dead_code();
        Ok(model.into_image())
    }),
    ("the library", |sample| edited(sample, remove_dead)),
];

#[test]
fn dead_code_and_nops() {
    for hook in [Hook::Tracepoint, Hook::TrafficControl, Hook::Xdp] {
        let config = Config::control_flow(hook);
        compare(&Kind { name: "dead code", config, hardened: false, rewriters: DEAD });
    }
}

#[test]
fn long_functions_of_dead_code() {
    let config = Config { blocks: 40, statements: 2, functions: 2, ..Config::control_flow(Hook::Tracepoint) };
    compare(&Kind { name: "dead code of long functions", config, hardened: false, rewriters: DEAD });
}

/// What the kernel calls with what was thrown, if a program has nothing of its own for it.
const CATCH: [Insn; 2] = [Insn::mov64_reg(0, 1), Insn::exit()];

/// A program without its dead code, and with a subprogram for what is thrown, as the kernel adds it: in one list, or in a
/// second one over what the first one gave.
fn caught(sample: &Sample, in_one_list: bool) -> Result<Image, Box<dyn Error>> {
    let throws = sample
        .image
        .insns
        .iter()
        .zip(&sample.facts)
        .any(|(insn, fact)| fact.seen && insn.is_call() && insn.src() == CALL_KFUNC);
    let (program, arenas) = (sample.program(), [Arena::new(), Arena::new()]);
    let mut first = program.edit(&arenas[0])?;
    remove_dead(first.list())?;
    if !throws {
        return Ok(first.linearize()?.into());
    }
    if in_one_list {
        first.add_subprog(Patch::new(&CATCH), None)?;
        return Ok(first.linearize()?.into());
    }
    let between = first.linearize()?;
    let mut second = between.edit(&arenas[1])?;
    second.add_subprog(Patch::new(&CATCH), None)?;
    Ok(second.linearize()?.into())
}

#[test]
fn exceptions() {
    let Some(throw) = btf::kernel_function("bpf_throw") else {
        crate::skipped(
            "exceptions are not compared: this kernel has no bpf_throw, or does not show its types",
        );
        return;
    };
    compare(&Kind {
        name: "exceptions",
        config: Config { throw: Some(throw), ..Config::control_flow(Hook::TrafficControl) },
        hardened: false,
        rewriters: &[
            ("the library with a list in between", |sample| caught(sample, false)),
            ("the library at once", |sample| caught(sample, true)),
        ],
    });
}

#[test]
fn division_and_packet_loads() {
    compare(&Kind {
        name: "fixups",
        config: Config { div: true, ld_abs: true, ..Config::control_flow(Hook::TrafficControl) },
        hardened: false,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            Ok(model.into_image())
        })],
    });
}

#[test]
fn zero_extension() {
    compare(&Kind {
        name: "zext",
        config: Config { div: true, atomics: true, ..Config::control_flow(Hook::Tracepoint) },
        hardened: false,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            model.extend(false);
            Ok(model.into_image())
        })],
    });
}

/// `BPF_F_TEST_RND_HI32`.
const NOISE: u32 = 4;

#[test]
fn noise_in_upper_halves() {
    compare(&Kind {
        name: "noise",
        config: Config {
            flags: NOISE,
            div: true,
            atomics: true,
            ld_abs: true,
            ..Config::control_flow(Hook::TrafficControl)
        },
        hardened: false,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            model.extend(true);
            Ok(model.into_image())
        })],
    });
}

/// Of one function: the kernel mixes up the line records of more when it blinds them.
const ONE_FUNCTION: Config =
    Config { functions: 1, callbacks: false, maps: false, ..Config::control_flow(Hook::Tracepoint) };

#[test]
fn blinded_constants() {
    compare(&Kind {
        name: "blinding",
        config: ONE_FUNCTION,
        hardened: true,
        rewriters: &[
            ("the model", |sample| {
                let mut model = Model::new(sample);
                model.remove_dead_code();
                model.blind();
                Ok(model.into_image())
            }),
            ("the library", |sample| {
                edited(sample, |list| {
                    remove_dead(list)?;
                    let options = blind::Options { hidden: Some(AX), ..blind::Options::default() };
                    blind::run(&Program::<()>::default(), list, &options)?;
                    Ok(())
                })
            }),
        ],
    });
}

#[test]
fn blinded_fixups() {
    compare(&Kind {
        name: "blinding of fixups",
        config: Config { div: true, atomics: true, ..ONE_FUNCTION },
        hardened: true,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            model.extend(false);
            model.blind();
            Ok(model.into_image())
        })],
    });
}

/// What the kernel shows of a program of several functions has numbers where displacements were: it cannot be edited.
#[test]
fn a_dump_of_the_kernel_is_refused() {
    let Some(fixtures) = load::fixtures() else { return };
    let Some(_held) = crate::kernel::unhardened() else { return };
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..60 {
        let sample = generate::generate(seed, &Config::control_flow(Hook::Tracepoint));
        let request = load::Request {
            kind: sample.hook.kind(),
            attach: 0,
            flags: sample.flags,
            image: &sample.image,
            hardening: 0,
        };
        let Ok(Image { insns, lines, funcs }) = fixtures.load(&request) else { continue };
        let refers = insns.iter().any(|insn| {
            (insn.is_call() && insn.src() == CALL_LOCAL) || (insn.is_wide() && insn.src() == LD_FUNC)
        });
        let program = Program::<()> {
            subprogs: funcs.iter().map(|func| func.insn_off).collect(),
            insns,
            line_info: lines,
            func_info: funcs,
            ..Program::default()
        };
        let arena = Arena::new();
        let result = program.edit(&arena).map(drop);
        if refers {
            assert!(matches!(result, Err(EditError::KernelDump { .. })), "seed {seed}: {result:?}");
            refused += 1;
        } else {
            assert_eq!(result, Ok(()), "seed {seed}");
            taken += 1;
        }
    }
    assert!(refused > 10 && taken > 5, "{refused} {taken}");
}
