//! Edit scripts: assembly, with the places of an object that it goes to.
//!
//! A script is of statements, one a line, some with code below. `#` after a blank, or at the start of a line,
//! begins a comment; the code is that of the [assembler](crate::bpf::asm).
//!
//! | statement | meaning |
//! | --- | --- |
//! | `data NAME SIZE` | a zeroed variable of so many bytes in `.data.relinear`, aligned to 8 |
//! | `map NAME KIND key N value N max_entries N` | a map; `KIND` is `hash`, `array`, `percpu_hash`, `percpu_array`, `lru_hash`, or a number of `enum bpf_map_type`; `flags N` may follow |
//! | `func NAME(N)` and code | a static function in `.text` of so many 64-bit arguments |
//! | `at PLACE ACTION` and code | an edit at each instruction that is meant |
//!
//! | place | the instructions it means |
//! | --- | --- |
//! | `FUNCTION entry` | the first one, on every way in: calls run what is prepended, jumps back to the first instruction do not |
//! | `FUNCTION exit` | each `exit` |
//! | `FUNCTION call NAME` | each call of that helper, function or kernel function |
//! | `FUNCTION label L3` | the one with that label, as `relinear dis` prints labels |
//! | `FUNCTION insn 17`, `insn 4..9` | those at these slots of the section, as `relinear dis` numbers them, the last one included |
//! | `FILE:LINE` | each run of instructions of that source line, inlined copies included; a path matches by its last parts |
//!
//! | action | meaning, of one instruction or a run |
//! | --- | --- |
//! | `prepend` | the code runs before, on every way in |
//! | `append` | the code runs after, when control goes on from the last one |
//! | `replace` | the code takes the place of all |
//! | `delete` | all go |
//!
//! In code, `{a}` and any other name in braces is a register that is free there, or is kept on the stack meanwhile; `w{a}`
//! is its low half. The same name is the same register within the code of a statement, and none that the code
//! names. `r1 = &NAME ll` and `&NAME + 8 ll` load the address of a symbol, `call NAME` calls a helper, a function or a kernel function
//! that the object has. Labels are local to the code, and `goto next` goes to what follows it. Code with calls keeps
//! what the program has in `r1` to `r5`, and in `r0` unless it names that. All else that code names is the program's
//! own, and a change of it is meant.
//!
//! ```
//! use relinear::elf::Object;
//! use relinear::script::Script;
//! use relinear::Arena;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/xdp_parse.o"))?;
//! let script = Script::parse("
//! data hits 8
//! at parse entry prepend
//!     {a} = &hits ll
//!     {b} = 1
//!     lock *(u64 *)({a} + 0x0) += {b}
//! ")?;
//! let mut object = Object::parse(&file)?;
//! let arena = Arena::new();
//! let mut edit = object.edit(&arena);
//! let report = script.run(&mut edit)?;
//! assert_eq!(report.edits[0].place.function.as_deref(), Some("parse"));
//! let change = edit.finish()?;
//! object.commit(change)?;
//! assert!(object.symbol("hits").is_some());
//! # Ok(())
//! # }
//! ```

mod block;
mod error;
mod parse;
mod place;
mod run;

use alloc::string::String;
use alloc::vec::Vec;

pub use error::{ScriptError, ScriptReason};

use crate::bpf::asm::Template;
use crate::elf;

/// A script that was read.
#[derive(Clone, Debug)]
pub struct Script {
    statements: Vec<Statement>,
}

/// A statement and its line, from 1.
#[derive(Clone, Debug)]
struct Statement {
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Data { name: String, size: usize },
    Map { name: String, kind: u32, key: u32, value: u32, max_entries: u32, flags: u32 },
    Func { name: String, params: u8, code: Code },
    At { place: Place, action: Action, code: Code },
}

/// The code of a statement.
#[derive(Clone, Debug, Default)]
struct Code {
    template: Template,
    /// The line of the script that its first line is, less 1.
    line: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Of { function: String, what: What },
    Line { file: String, line: u32 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    Entry,
    Exit,
    Call(String),
    Label(u32),
    Insns(u32, u32),
}

/// What is done at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Code before it.
    Prepend,
    /// Code after it.
    Append,
    /// Code instead of it.
    Replace,
    /// It goes.
    Delete,
}

impl Action {
    /// The word for it in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepend => "prepend",
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// What a script did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The names of the variables, maps and functions it added, in its order.
    pub added: Vec<String>,
    /// Each place that matched, in the order of the script, then of the object.
    pub edits: Vec<Edit>,
}

/// An edit at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Edit {
    /// The line of the script.
    pub line: usize,
    /// What was done.
    pub action: Action,
    /// Where, in the object as it was.
    pub place: elf::Place,
    /// How many slots were inserted.
    pub inserted: usize,
    /// How many slots of the object were deleted.
    pub deleted: usize,
    /// How many registers are kept on the stack meanwhile.
    pub spilled: usize,
}
