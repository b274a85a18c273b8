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

use compare::{Kind, compare};
use generate::{Config, Hook};
use model::Model;

#[test]
fn dead_code_and_nops() {
    compare(&Kind {
        name: "dead code",
        config: Config::control_flow(Hook::Tracepoint),
        hardened: false,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.into_image()
        })],
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
            model.into_image()
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
            model.into_image()
        })],
    });
}

/// `BPF_F_TEST_RND_HI32`.
const NOISE: u32 = 4;

#[test]
fn noise_in_upper_halves() {
    compare(&Kind {
        name: "noise",
        config: Config { flags: NOISE, div: true, atomics: true, ld_abs: true, ..Config::control_flow(Hook::TrafficControl) },
        hardened: false,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            model.extend(true);
            model.into_image()
        })],
    });
}

/// Of one function: the kernel mixes up the line records of more when it blinds them.
#[test]
fn blinded_constants() {
    compare(&Kind {
        name: "blinding",
        config: Config {
            div: true,
            atomics: true,
            functions: 1,
            callbacks: false,
            maps: false,
            ..Config::control_flow(Hook::Tracepoint)
        },
        hardened: true,
        rewriters: &[("the model", |sample| {
            let mut model = Model::new(sample);
            model.remove_dead_code();
            model.fix_up();
            model.extend(false);
            model.blind();
            model.into_image()
        })],
    });
}
