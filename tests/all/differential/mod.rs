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

use relinear::bpf::opcode::AX;
use relinear::bpf::{Aux, Bpf, Program};
use relinear::passes::{self, blind, hard_wire_dead_branches, remove_dead_code, remove_nops};
use relinear::{Arena, List};

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
                    blind::run(&Program::default(), list, &options)?;
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
