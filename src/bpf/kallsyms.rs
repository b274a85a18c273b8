//! [`Symbols`]: names of the functions of the running kernel, and the helper they are.

use alloc::vec::Vec;
use core::fmt;

use super::helper;

/// The functions of the running kernel, out of the text of `/proc/kallsyms`.
///
/// A program that is read back from the kernel names what it calls by the distance from `__bpf_call_base`. The
/// kernel shows addresses to who has `CAP_SYSLOG`, unless `kernel.kptr_restrict` is 2, or to everybody if
/// it is 0 and `kernel.perf_event_paranoid` is at most 1; else all of them read as 0.
#[derive(Clone, Debug)]
pub struct Symbols<'k> {
    base: u64,
    /// Addresses, ascending, with names.
    functions: Vec<(u64, &'k str)>,
}

/// A text that does not tell where the functions of the kernel are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SymbolsError {
    /// There is no `__bpf_call_base`.
    NoBase,
    /// All addresses are 0: the kernel hides them.
    Hidden,
}

impl fmt::Display for SymbolsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBase => "the symbols of the kernel have no __bpf_call_base",
            Self::Hidden => "the kernel hides the addresses of its symbols (kernel.kptr_restrict)",
        })
    }
}

impl core::error::Error for SymbolsError {}

/// What helper addresses are counted from.
const BASE: &str = "__bpf_call_base";

impl<'k> Symbols<'k> {
    /// Reads the text of `/proc/kallsyms`: lines of an address, a letter and a name. Lines that are none of these
    /// are skipped.
    ///
    /// O(bytes + symbols · log symbols).
    ///
    /// # Errors
    ///
    /// [`SymbolsError`].
    pub fn parse(text: &'k str) -> Result<Self, SymbolsError> {
        let mut functions: Vec<(u64, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let kind = words.next()?;
                matches!(kind, "t" | "T" | "w" | "W").then_some((address, words.next()?))
            })
            .collect();
        let base = functions.iter().find(|(_, name)| *name == BASE).ok_or(SymbolsError::NoBase)?.0;
        if base == 0 {
            return Err(SymbolsError::Hidden);
        }
        functions.sort_unstable();
        Ok(Self { base, functions })
    }

    /// The names of the function that a call with this immediate calls. O(log symbols).
    pub fn of_call(&self, imm: i32) -> impl Iterator<Item = &'k str> + '_ {
        let address = self.base.wrapping_add_signed(imm.into());
        let first = self.functions.partition_point(|&(other, _)| other < address);
        self.functions[first..].iter().take_while(move |(other, _)| *other == address).map(|&(_, name)| name)
    }
}

/// Functions that do not have the name of the helper they are.
const OTHER_NAMES: [(&str, i32); 4] = [
    ("bpf_user_rnd_u32", 7),
    ("bpf_get_raw_cpu_id", 8),
    ("bpf_skb_event_output", 25),
    ("bpf_xdp_event_output", 25),
];

/// Operations of maps that take the place of a helper if the verifier knows the map.
const OF_MAPS: [(&str, i32); 6] = [
    ("_lookup_elem", 1),
    ("_update_elem", 2),
    ("_delete_elem", 3),
    ("_push_elem", 87),
    ("_pop_elem", 88),
    ("_peek_elem", 89),
];

/// Begin the names of functions that are a helper for one type of programs.
const PREFIXES: [&str; 5] = ["bpf_xdp_", "bpf_skb_", "bpf_sock_addr_", "bpf_sock_ops_", "bpf_sk_"];
/// End such names.
const SUFFIXES: [&str; 4] = ["_raw_tp", "_tp", "_pe", "_sleepable"];

/// The number of the helper of exactly this name.
fn with_prefix(name: &str) -> Option<i32> {
    helper::number(name).filter(|_| name.starts_with("bpf_"))
}

/// The number of the helper that a function of the kernel is, as far as its name tells. O(helpers).
pub(super) fn helper(name: &str) -> Option<i32> {
    if let Some(number) = with_prefix(name) {
        return Some(number);
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|&(_, number)| number);
    let short = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let of_map = |&(suffix, number): &(&str, i32)| {
        (!short.starts_with("__") && short.ends_with(suffix)).then_some(number)
    };
    other
        .or_else(|| with_prefix(short))
        .or_else(|| PREFIXES.iter().find_map(|prefix| helper::number(short.strip_prefix(prefix)?)))
        .or_else(|| OF_MAPS.iter().find_map(of_map))
}
