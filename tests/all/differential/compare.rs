//! Runs programs of one kind through the kernel and through others, and compares.

use std::env;
use std::time::Instant;

use super::generate::{Config, Sample, generate};
use super::image::Image;
use super::load::{Fixtures, Request, fixtures};
use crate::kernel::Hardening;

/// Programs of each kind in an ordinary run.
const COUNT: u64 = 200;

/// Rewrites a program as the kernel does.
pub(crate) type Rewriter = fn(&Sample) -> Image;

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
        // Short programs first: if there is a difference, it is easy to see what it comes from.
        let share = (seed - first) * 8 / count;
        let size = |full: usize| (full * usize::try_from(share + 1).expect("a small number")).div_ceil(8);
        let config = Config { blocks: size(kind.config.blocks), ..kind.config };
        let sample = generate(seed, &config);
        std::fs::write("/tmp/harness.seed", format!("{} {seed}", kind.name)).unwrap();
        let theirs = load(fixtures, &sample, kind, seed);
        for (name, rewrite) in kind.rewriters {
            let ours = rewrite(&sample).dumped(fixtures.map_id).masked();
            if ours != theirs {
                panic!("{}", difference(kind, seed, name, [&sample.image, &theirs, &ours]));
            }
        }
        total.add(&sample.image, &theirs);
    }
    if count > COUNT {
        println!("{}: {count} programs, {total:?}, {:.1?}", kind.name, start.elapsed());
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(format!("RELINEAR_DIFFERENTIAL_{name}")).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("RELINEAR_DIFFERENTIAL_{name}={text}: {error}")))
}

fn load(fixtures: &Fixtures, sample: &Sample, kind: &Kind, seed: u64) -> Image {
    let request = Request {
        kind: sample.hook.kind(),
        flags: sample.flags,
        image: &sample.image,
        hardening: if kind.hardened { 2 } else { 0 },
    };
    match fixtures.load(&request) {
        Ok(image) => image.masked(),
        Err(refused) => panic!(
            "{}: the kernel refuses seed {seed}: {}\n{}\n{}",
            kind.name, refused.error, refused.log, sample.image
        ),
    }
}

fn difference(kind: &Kind, seed: u64, name: &str, [input, theirs, ours]: [&Image; 3]) -> String {
    let [input, theirs, ours] = [input, theirs, ours].map(ToString::to_string);
    let same = theirs.lines().zip(ours.lines()).take_while(|(theirs, ours)| theirs == ours).count();
    format!(
        "{}: seed {seed}: {name} differs from the kernel at line {same}\n\
         before:\n{input}\nthe kernel:\n{theirs}\n{name}:\n{ours}",
        kind.name
    )
}

/// What was compared.
#[derive(Default, Debug)]
#[expect(dead_code, reason = "it is there to be printed")]
struct Total {
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
