//! Runs programs of one kind through the kernel and through others, and compares.

use std::env;
use std::error::Error;
use std::time::Instant;

use super::generate::{Config, Sample, generate};
use super::image::Image;
use super::load::{Fixtures, Request, fixtures};
use crate::kernel::Hardening;

/// Programs of each kind in an ordinary run.
const COUNT: u64 = 200;

/// Rewrites a program as the kernel does.
pub(crate) type Rewriter = fn(&Sample) -> Result<Image, Box<dyn Error>>;

/// Programs of one kind, and who claims to do what the kernel does.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) config: Config,
    /// Whether the kernel is to blind constants. It is asked for by a system-wide setting, which is
    /// changed only if `RELINEAR_SET_JIT_HARDEN` is set.
    pub(crate) hardened: bool,
    pub(crate) rewriters: &'static [(&'static str, Rewriter)],
}

/// Panics, with the seed and both programs, at the first difference.
pub(crate) fn compare(kind: &Kind) {
    let Some(fixtures) = fixtures() else { return };
    if kind.hardened && env::var_os("RELINEAR_SET_JIT_HARDEN").is_none() {
        crate::skipped("RELINEAR_SET_JIT_HARDEN is not set, so net.core.bpf_jit_harden is left alone");
        return;
    }
    let held = if kind.hardened { Hardening::on() } else { Hardening::off() };
    let _held = match held {
        Ok(held) => held,
        Err(error) => {
            crate::skipped(format_args!("{} is not compared: {error}", kind.name));
            return;
        }
    };
    let start = Instant::now();
    let (first, count) = (number("SEED").unwrap_or(0), number("COUNT").unwrap_or(COUNT));
    let mut total = Total::default();
    for seed in first..first + count {
        let sample = generate(seed, &kind.config);
        match compare_one(fixtures, kind, &sample) {
            Ok(Some(theirs)) => total.add(&sample.image, &theirs),
            Ok(None) => total.not_translated += 1,
            Err(difference) => {
                let (sample, difference) = smallest(fixtures, kind, seed, sample, difference);
                panic!("{}: seed {seed}: {difference}\nbefore:\n{}", kind.name, sample.image);
            }
        }
    }
    assert!(total.not_translated * 20 <= count, "{}: {total:?}: too many are not translated", kind.name);
    if count > COUNT {
        println!("{}: {count} programs, {total:?}, {:.1?}", kind.name, start.elapsed());
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(format!("RELINEAR_DIFFERENTIAL_{name}")).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("RELINEAR_DIFFERENTIAL_{name}={text}: {error}")))
}

/// `ENOTSUPP`: the verifier accepts the program, but it cannot be translated to machine code. That of
/// x86-64 in Linux 6.18 fails for some of several functions: the sizes it computes do not settle.
const NOT_TRANSLATED: i32 = 524;

/// What the kernel made of a program, if that is to be had, or how the others differ from it.
fn compare_one(fixtures: &Fixtures, kind: &Kind, sample: &Sample) -> Result<Option<Image>, String> {
    let request = Request {
        kind: sample.hook.kind(),
        attach: 0,
        flags: sample.flags,
        image: &sample.image,
        hardening: if kind.hardened { 2 } else { 0 },
    };
    let theirs = match fixtures.load(&request) {
        Ok(image) => image.masked(),
        Err(refused) if refused.error.raw_os_error() == Some(NOT_TRANSLATED) => return Ok(None),
        Err(refused) => return Err(format!("the kernel refuses it: {}\n{}", refused.error, refused.log)),
    };
    for (name, rewrite) in kind.rewriters {
        let ours = match rewrite(sample) {
            Ok(image) => image.dumped(fixtures.map_id).masked(),
            Err(error) => return Err(format!("{name} fails: {error}")),
        };
        if ours != theirs {
            return Err(difference(name, &theirs, &ours));
        }
    }
    Ok(Some(theirs))
}

/// A smaller program of the same seed that fares as badly, and how.
fn smallest(
    fixtures: &Fixtures,
    kind: &Kind,
    seed: u64,
    sample: Sample,
    difference: String,
) -> (Sample, String) {
    let Config { functions, blocks, statements, .. } = kind.config;
    let sizes =
        (1..=functions).flat_map(|functions| (0..=blocks).map(move |blocks| (functions, blocks))).flat_map(
            |(functions, blocks)| (0..=statements).map(move |statements| (functions, blocks, statements)),
        );
    let smaller = sizes
        .map(|(functions, blocks, statements)| {
            generate(seed, &Config { functions, blocks, statements, ..kind.config })
        })
        .filter(|smaller| smaller.image.insns.len() < sample.image.insns.len())
        .filter_map(|sample| {
            let difference = compare_one(fixtures, kind, &sample).err()?;
            Some((sample, difference))
        })
        .min_by_key(|(sample, _)| sample.image.insns.len());
    smaller.unwrap_or((sample, difference))
}

fn difference(name: &str, theirs: &Image, ours: &Image) -> String {
    let [theirs, ours] = [theirs, ours].map(ToString::to_string);
    let same = theirs.lines().zip(ours.lines()).take_while(|(theirs, ours)| theirs == ours).count();
    format!("{name} differs from the kernel at line {same}\nthe kernel:\n{theirs}\n{name}:\n{ours}")
}

/// What was compared.
#[derive(Default, Debug)]
struct Total {
    not_translated: u64,
    slots_before: usize,
    slots_after: usize,
    lines_before: usize,
    lines_after: usize,
    functions_before: usize,
    functions_after: usize,
}

impl Total {
    fn add(&mut self, before: &Image, after: &Image) {
        self.slots_before += before.insns.len();
        self.slots_after += after.insns.len();
        self.lines_before += before.lines.len();
        self.lines_after += after.lines.len();
        self.functions_before += before.funcs.len();
        self.functions_after += after.funcs.len();
    }
}
