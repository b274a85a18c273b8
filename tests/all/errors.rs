//! Every error of the table in the documentation, provoked: where it says it is, and in which words.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use relinear::bpf::{
    Bpf, Cfg, CfgError, Endian, FuncInfo, Insn, InsnReason, LineInfo, Program, asm, check_insn, decode,
};
#[cfg(feature = "elf")]
use relinear::passes::{Error as E, blind, dce};
use relinear::{
    Arena, At, Branch, Deleted, Error, Fact, Handle, Limits, Linear, List, Patch, TableError, Target,
};

const MOV: Insn = Insn::mov64_imm(0, 0);
/// `if r1 == 0 goto off`
const fn jump(off: i16) -> Insn {
    Insn::jmp_imm(0x10, 1, 0, off)
}

/// What was provoked: the variant as the table names it, with `error` its text.
struct Seen(BTreeSet<String>);

impl Seen {
    /// That `error` is the variant that the table calls `name`, and says `text`.
    #[track_caller]
    fn is<E: Display + Debug>(&mut self, name: &str, error: E, text: &str) {
        let shown = format!("{error:?}");
        let variant = name.rsplit("::").next().expect("it has a name");
        assert!(shown.starts_with(variant), "{shown} is not {name}");
        assert_eq!(error.to_string(), text);
        self.0.insert(name.to_owned());
    }
}

/// The error of an edit of `program`. The list is sound after it, and as it was.
fn edit_error<T: Debug>(
    program: &[Insn],
    limits: Limits,
    edit: impl Fn(&mut List<'_, Bpf>) -> Result<T, Error>,
) -> Error {
    let arena = Arena::with_limits(limits);
    let mut list = List::<Bpf>::new(&arena, program).expect("a list");
    loop {
        let before = list.live_len();
        if let Err(error) = edit(&mut list) {
            list.check().expect("it is sound");
            assert_eq!(list.live_len(), before);
            list.linearize().expect("it is as it was");
            return error;
        }
    }
}

/// The error of laying out `program` after an edit. The output is empty then.
fn linear_error(program: &[Insn], edit: impl Fn(&mut List<'_, Bpf>)) -> Error {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, program).expect("a list");
    let mut out = Linear::default();
    list.linearize_into(&mut out).ok();
    edit(&mut list);
    let error = list.linearize_into(&mut out).expect_err("it is refused");
    assert!(out.units.is_empty() && out.map.new_len() == 0);
    error
}

fn units(units: u32) -> Limits {
    let mut limits = Limits::default();
    limits.units = units;
    limits
}

fn core(seen: &mut Seen) {
    let any = Limits::default();
    let program = [MOV, MOV, Insn::exit()];
    let at = Handle::new;
    let words = "units are more than the limit of the arena, or the 4294967294 that handles can name";
    let first = edit_error(&program, units(20), |list| list.append(at(0), &[MOV][..]));
    let Error::TooLong { units: too_many } = first else { panic!("{first}") };
    assert!((21..=22).contains(&too_many));
    seen.is("Error::TooLong", first, &format!("{too_many} {words}"));
    let arena = Arena::with_limits(units(20));
    let mut list = List::<Bpf>::new(&arena, &program).expect("a list");
    list.append(at(0), &[MOV; 16][..]).expect_err("with two more for labels it is too much");
    list.append(at(0), &[MOV; 15][..]).expect("it fits");
    let arena = Arena::with_limits(units(2));
    let error = List::<Bpf>::new(&arena, &program).err().expect("it is refused");
    seen.is("Error::TooLong", error, &format!("3 {words}"));
    let mut few = any;
    few.edits = 5;
    let error = edit_error(&program, few, |list| list.append(at(0), &[MOV][..]));
    seen.is("Error::TooManyEdits", error, "a list takes no more than 5 patches");
    let arena = Arena::with_limits(few);
    let mut list = List::<Bpf>::new(&arena, &program).expect("a list");
    let accepted = (0..9).filter(|_| list.append(at(0), &[MOV][..]).is_ok()).count();
    assert_eq!(accepted, 4, "the fifth might count twice");
    let mut small = any;
    small.bytes = Some(4096);
    let error = edit_error(&program, small, |list| list.append(at(0), &[MOV][..]));
    seen.is("Error::OutOfMemory", error, "out of memory");

    let arena = Arena::new();
    let error = List::<Bpf>::new(&arena, &[MOV, Insn::ld_imm64(0, 0)[0]]).err().expect("it is refused");
    seen.is("Error::BadInsn", error, "no whole instruction at unit 1");
    let error = edit_error(&program, any, |list| list.append(at(0), &[][..]));
    seen.is("Error::EmptyPatch", error, "the patch is empty");
    let wide = Insn::ld_imm64(0, 0);
    let error = edit_error(&program, any, |list| list.append(at(0), &[MOV, wide[0]][..]));
    seen.is("Error::BadPatchInsn", error, "no whole instruction at unit 1 of the patch");
    let mut long = [MOV; 101];
    long[100] = wide[0];
    let error = edit_error(&program, any, |list| list.append(at(0), &long[..]));
    seen.is("Error::BadPatchInsn", error, "no whole instruction at unit 100 of the patch");
    let error = edit_error(&program, any, |list| list.append(at(0), Patch::new(&wide).fact(Fact::MoveTo(1))));
    seen.is("Error::BadPatchInsn", error, "no whole instruction at unit 1 of the patch");
    let error = edit_error(&program, any, |list| list.append(at(0), &[MOV, jump(7)][..]));
    let text = "field 0 of the branch at unit 1 of the patch leads out of the patch";
    seen.is("Error::LeavesPatch", error, text);
    let error = edit_error(&program, any, |list| {
        list.append(at(0), Patch::new(&[MOV]).branches(&[Branch::new(0, Target::End)]))
    });
    let text =
        "the target given for field 0 of unit 0 of the patch is out of order, or there is no such branch";
    seen.is("Error::BadTarget", error, text);
    let error = edit_error(&program, any, |list| list.append(at(99), &[MOV][..]));
    seen.is("Error::NoSuchInsn", error, "i99 names no instruction of this list");
    assert_eq!(format!("{error:?}"), "NoSuchInsn(i99)");
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program).expect("a list");
    list.delete(at(1)).expect("it is there");
    let error = list.delete(at(1)).expect_err("it is gone");
    seen.is("Error::Deleted", error, "i1 was deleted before");

    let error = linear_error(&[MOV, jump(5), Insn::exit()], |_| ());
    seen.is("Error::BranchOutside", error, "the branch at 1 leads to 7, out of the program");
    let error = linear_error(&[jump(1), wide[0], wide[1], Insn::exit()], |_| ());
    seen.is("Error::BranchIntoInsn", error, "the branch at 0 leads to 2, into the middle of an instruction");
    let error = linear_error(&[jump(1), MOV, Insn::exit()], |list| list.delete(at(2)).expect("it is there"));
    let text = "the branch at 0 leads to i2, which is deleted with all that follows it";
    seen.is("Error::DeletedTail", error, text);
    let far = vec![MOV; 1 << 15];
    let error = linear_error(&[jump(1), MOV, Insn::exit()], |list| {
        list.append(at(1), &far[..]).expect("there is room");
    });
    let text = "the branch at 0, now at 0, leads to 32770: displacement 32769 is not in -32768..=32767";
    seen.is("Error::OutOfRange", error, text);
}

fn table(seen: &mut Seen) {
    let arena = Arena::new();
    let program = [MOV; 4];
    let map = List::<Bpf>::new(&arena, &program).and_then(|list| list.linearize()).expect("a map").map;
    let mut records = vec![0, 4];
    let error = map.adjust_points(&mut records, At::Insn, Deleted::Drop, |at| at).expect_err("it is refused");
    seen.is("TableError::Outside", error, "record 1 is at 4, and the last place for one is 3");
    assert_eq!(records, [0, 4]);
    let mut starts = vec![0, 2, 2];
    let error = map.adjust_starts(&mut starts, |at| at).expect_err("it is refused");
    seen.is("TableError::Order", error, "record 2 is not in ascending order");
    assert_eq!(starts, [0, 2, 2]);
    let mut ranges = vec![(0, 1), (3, 2)];
    let error = map.adjust_ranges(&mut ranges, |(start, end)| (start, end)).expect_err("it is refused");
    seen.is("TableError::Inverted", error, "record 1 ends before it begins");
    assert_eq!(ranges, [(0, 1), (3, 2)]);
    // Provoked in tests/alloc.rs.
    seen.is("TableError::OutOfMemory", TableError::OutOfMemory, "out of memory");
}

fn editor(seen: &mut Seen) {
    // call +1;  exit;  r0 = 0;  exit
    let program = || Program::<()> {
        insns: vec![Insn::call_local(1), Insn::exit(), MOV, Insn::exit()],
        subprogs: vec![0, 2],
        ..Program::default()
    };
    let refused = |change: fn(&mut Program)| {
        let mut program = program();
        change(&mut program);
        program.edit(&Arena::new()).err().expect("it is refused")
    };
    let error = refused(|program| program.insns[3] = Insn::ld_imm64(0, 0)[0]);
    seen.is("EditError::Core", error, "no whole instruction at unit 3");
    let line = |insn_off| LineInfo { insn_off, ..LineInfo::default() };
    let mut unordered = program();
    unordered.line_info = vec![line(2), line(1)];
    let error = unordered.edit(&Arena::new()).err().expect("it is refused");
    seen.is("EditError::Table", error, "line information: record 1 is not in ascending order");
    let error = refused(|program| program.subprogs = vec![1, 2]);
    seen.is("EditError::NoEntry", error, "the first subprogram starts at 1, not at 0");
    let error = refused(|program| {
        program.func_info = [0, 3].map(|insn_off| FuncInfo { insn_off, type_id: 1 }).to_vec();
    });
    seen.is("EditError::FuncInfo", error, "function 1 is at 3, but subprogram 1 starts at 2");

    let dump = "refers to a subprogram by its number, as the kernel shows programs that it has loaded: put displacements in the \
                place of numbers first";
    let error = refused(|program| program.insns[0] = Insn::call_local(1).with_off(1));
    seen.is("EditError::KernelDump", error, &format!("slot 0 {dump}"));
    let error =
        refused(|program| program.insns.splice(2..3, Insn::ld_imm64_kind(1, 4, -3, 1)).for_each(drop));
    seen.is("EditError::KernelDump", error, &format!("slot 2 {dump}"));

    let deleted = |range: std::ops::Range<u32>, program: &Program| {
        let arena = Arena::new();
        let mut editor = program.edit(&arena).expect("it can be edited");
        editor.list().delete_range(range).expect("it is there");
        editor.linearize().expect_err("it is refused")
    };
    let text = "all of the first subprogram was deleted, where the program is entered";
    seen.is("EditError::EntryDeleted", deleted(0..2, &program()), text);
    let text = "the instruction at 0 refers to subprogram 1, of which all was deleted";
    let mut three = program();
    three.insns.extend([MOV, Insn::exit()]);
    three.subprogs.push(4);
    seen.is("EditError::DeadSubprog", deleted(2..4, &three), text);
    let mut jumping = program();
    // if r1 == 0 goto +1;  call +1;  exit;  r0 = 0;  exit
    jumping.insns.insert(0, jump(1));
    jumping.subprogs[1] = 3;
    let text = "the jump at 0, now at 0, leads to 2, in another subprogram";
    seen.is("EditError::LeavesSubprog", deleted(2..3, &jumping), text);
}

fn control_flow(seen: &mut Seen) {
    let wide_load = Insn::ld_imm64(0, 1);
    let error = |text: &str, subprogs: &[u32]| {
        let insns = asm::parse(text).expect("a program");
        Cfg::new(&Program::<()> { insns, subprogs: subprogs.to_vec(), ..Program::default() })
            .expect_err("no graph")
    };
    seen.is("CfgError::BadLength", error("", &[0]), "a program of 0 slots has no control flow");
    let text = "subprogram 1 cannot start at slot 2";
    seen.is("CfgError::BadSubprog", error("exit\nexit", &[0, 2]), text);
    let cut =
        Program::<()> { insns: vec![MOV, Insn::ld_imm64(0, 0)[0]], subprogs: vec![0], ..Program::default() };
    let text = "slot 1: the second slot of a 64-bit load is missing";
    seen.is("CfgError::BadInsn", Cfg::new(&cut).expect_err("no graph"), text);
    let text = "the jump at slot 0 leads to 2, out of a program of 2 slots";
    seen.is("CfgError::OutOfProgram", error("goto +1\nexit", &[0]), text);
    let text = "the jump at slot 0 leads to the second slot of an instruction, 2";
    seen.is("CfgError::IntoInsn", error("if r0 == 0 goto +1\nr0 = 1 ll\nexit", &[0]), text);
    let text = "the jump at slot 0 leads to slot 2, in another subprogram";
    seen.is("CfgError::LeavesSubprog", error("if r0 == 0 goto +1\nexit\nexit", &[0, 2]), text);
    let text = "slot 0 refers to a subprogram at 2, where none starts";
    seen.is("CfgError::NoSubprog", error("call pc+1\nexit\nexit", &[0]), text);
    let gotox = |insn_array: &[Option<u32>]| {
        let insns = vec![Insn::gotox(1), wide_load[0], wide_load[1], Insn::exit(), Insn::exit()];
        let insn_array = insn_array.to_vec();
        let program = Program::<()> { insns, subprogs: vec![0, 4], insn_array, ..Program::default() };
        Cfg::new(&program).expect_err("no graph")
    };
    let text = "no jump table leads into the subprogram of the gotox at slot 0";
    seen.is("CfgError::NoTable", gotox(&[None, Some(4)]), text);
    let text = "entry 1 of the jump tables leads to slot 2, where no instruction starts";
    seen.is("CfgError::BadEntry", gotox(&[None, Some(2)]), text);
    let text = "control falls off the end of subprogram 0 at slot 1";
    seen.is("CfgError::FallsOff", error("exit\nr0 = 1", &[0]), text);
}

fn encoding(seen: &mut Seen) {
    let insn = Insn::new;
    let wide = Insn::ld_imm64(0, 0);
    for (name, insns, text) in [
        ("End", vec![], "the program ends before it"),
        ("Cut", vec![wide[0]], "the second slot of a 64-bit load is missing"),
        ("Code", vec![insn(0xff, 0, 0, 0, 0)], "no instruction has the code 0xff"),
        ("Dst", vec![insn(0xb7, 11, 0, 0, 0)], "the destination field cannot be 11"),
        ("Src", vec![insn(0xb7, 0, 1, 0, 0)], "the source field cannot be 1"),
        ("Off", vec![insn(0xb7, 0, 0, 9, 0)], "the offset field cannot be 9"),
        ("Imm", vec![insn(0x95, 0, 0, 0, 1)], "the immediate field cannot be 1"),
        (
            "StackArgument",
            vec![insn(0x7b, 11, 1, -8, 0)],
            "it passes an argument on the stack, by r11, and functions of more than five arguments cannot be checked \
             or patched yet",
        ),
        ("SecondSlot", vec![wide[0], MOV], "the second slot of a 64-bit load sets a reserved field"),
    ] {
        let error = check_insn(&insns, 0, 10).expect_err("it is not valid");
        assert_eq!(error.to_string(), format!("slot 0: {text}"));
        let reason: InsnReason = error.reason;
        seen.is(&format!("InsnReason::{name}"), reason, text);
    }
    let error = decode(&[0; 15], Endian::Little).expect_err("it is no whole slot");
    let text = "a program of 15 bytes: the length must be a multiple of 8";
    seen.is("DecodeError::Length", error, text);
}

fn assembler(seen: &mut Seen) {
    let far = format!("  if r1 > 4 goto far\n{}far: exit", "exit\n".repeat(32768));
    for (name, text, place, says) in [
        ("Character", "exit\nr0 = @", "line 2, column 6: ", "unexpected character '@'"),
        ("Number", "r0 = 0x", "line 1, column 6: ", "not a number of at most 64 bits"),
        ("Range", &far, "line 1, column 18: ", "32768 is not between -32768 and 32767"),
        ("Undefined", "exit\ngoto away", "line 2, column 6: ", "label 'away' is not defined"),
        ("Redefined", "a:\na:\nexit", "line 2, column 1: ", "label 'a' is defined twice"),
    ] {
        let error = asm::parse(text).expect_err(text);
        assert_eq!(error.to_string(), format!("{place}{says}"));
        seen.is(&format!("AsmReason::{name}"), error.reason, says);
    }
    let error = asm::parse("exit\nr0 =").expect_err("something is missing");
    assert_eq!((error.line, error.column), (2, 5));
    let text = error.reason.to_string();
    assert!(text.starts_with("expected "), "{text}");
    seen.is("AsmReason::Expected", error.reason, &text);
}

fn passes_of(seen: &mut Seen) {
    let program = |insns: &[Insn]| Program { insns: insns.to_vec(), subprogs: vec![0], ..Program::default() };
    let run_dce = |program: &Program, roots: Option<Vec<u32>>, before: fn(&mut List<'_, Bpf>)| {
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
        before(&mut list);
        dce::run(program, &mut list, &dce::Options { roots }).expect_err("it is refused")
    };
    let fine = program(&[MOV, Insn::exit()]);
    let error = run_dce(&program(&[MOV]), None, |_| ());
    seen.is("passes::Error::Cfg", error, "control falls off the end of subprogram 0 at slot 0");
    let error = run_dce(&fine, None, |list| list.delete(Handle::new(0)).expect("it is there"));
    seen.is("passes::Error::Edited", error, "the list differs from the program at slot 0");
    let error = run_dce(&fine, Some(vec![1]), |_| ());
    seen.is("passes::Error::BadRoot", error, "root 1 is none of the 1 subprograms");
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &fine.insns).expect("a list");
    let options = blind::Options { hidden: Some(3), ..blind::Options::default() };
    let error = blind::run(&fine, &mut list, &options).expect_err("it is refused");
    seen.is("passes::Error::BadHidden", error, "r3 is not a hidden register, one of r11 to r15");
    let mut limits = Limits::default();
    limits.units = 3;
    let arena = Arena::with_limits(limits);
    let constant = program(&[Insn::mov64_imm(0, 7), Insn::exit()]);
    let mut list = List::<Bpf>::new(&arena, &constant.insns).expect("a list");
    let options = blind::Options { hidden: Some(11), ..blind::Options::default() };
    let error = blind::run(&constant, &mut list, &options).expect_err("there is no room");
    let text = error.to_string();
    assert!(text.contains("units are more than the limit"), "{text}");
    seen.is("passes::Error::Edit", error, &text);
    // Provoked in tests/all/fixups and tests/all/ctx, which have the hosts for it.
    let at = Handle::new(3);
    for (name, error, text) in [
        (
            "BadSubprogs",
            E::BadSubprogs { starts: 2, stacks: 1 },
            "2 subprograms with 1 stacks do not start in order from 0 on",
        ),
        (
            "StackTooDeep",
            E::StackTooDeep { subprog: 0, used: 32760, more: 16 },
            "subprogram 0 uses 32760 bytes of stack: 16 more are out of reach of the frame pointer",
        ),
        (
            "BadFact",
            E::BadFact { at, what: "the number of elements", value: 1 << 31 },
            "i3: the number of elements is 2147483648, more than an immediate holds",
        ),
        (
            "NoConversion",
            E::NoConversion { at, insn: Insn::ldx(0x10, 0, 1, 9) },
            "i3, of code 0x71, accesses offset 9 of a context, where there is nothing for it",
        ),
        (
            "LongConversion",
            E::LongConversion { at, slots: 40, limit: 32 },
            "40 slots are to replace i3, and there is room for 32",
        ),
    ] {
        seen.is(&format!("passes::Error::{name}"), error, text);
    }
    assert!(matches!(run_dce(&fine, Some(vec![]), |_| ()), E::BadRoot { root: None, subprogs: 1 }));
    assert!(matches!(run_dce(&program(&[]), None, |_| ()), E::Cfg(CfgError::BadLength { slots: 0 })));
}

#[cfg(feature = "elf")]
fn elf(seen: &mut Seen) {
    use object::{Object as _, ObjectSection as _};
    use relinear::elf::{ElfError, Limits, Object, PatchReason, patch};

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/globals.o");
    let file = std::fs::read(path).expect("it is there");
    let error = Object::parse(&file[..10]).expect_err("it is cut short");
    let text = error.to_string();
    assert!(text.starts_with("not an eBPF object: "), "{text}");
    seen.is("ElfError::Header", error, &text);

    // Each limit, at what the object has, which is enough, and at one less.
    let all = Object::parse(&file).expect("an object");
    let slots = all.code().iter().map(|code| code.program().insns.len()).sum::<usize>();
    let least = |mut limits: Limits, set: fn(&mut Limits, usize), what: &str| {
        let mut least = 0;
        loop {
            set(&mut limits, least);
            let Err(error) = Object::parse_with(&file, &limits) else { return least };
            let ElfError::TooMany { what: of, count, limit } = error else { panic!("{error}") };
            assert_eq!((of, limit), (what, least));
            assert!(count > least);
            least = count;
        }
    };
    let any = Limits::default();
    assert_eq!(least(any, |limits, most| limits.bytes = most, "bytes"), file.len());
    assert_eq!(least(any, |limits, most| limits.slots = most, "slots"), slots);
    let sections = object::File::parse(&*file).expect("an object").sections().count() + 1;
    assert_eq!(least(any, |limits, most| limits.sections = most, "sections"), sections);
    assert!(least(any, |limits, most| limits.records = most, "records") > 20);
    let mut limits = any;
    limits.slots = 3;
    let error = Object::parse_with(&file, &limits).expect_err("it has more");
    seen.is("ElfError::TooMany", error, &format!("the object has {slots} slots, and the limit is 3"));

    // Where a code section stands in the file, from another reader.
    let whole = object::File::parse(&*file).expect("an object");
    let text_section = whole.section_by_name(".text").expect("it has one");
    let (start, _) = text_section.file_range().expect("it is in the file");
    let mut bad = file.clone();
    let slot = 14;
    bad[usize::try_from(start).expect("short") + slot * 8] = 0xff;
    // No such instruction: the pass says where.
    let mut object = Object::parse(&bad).expect("its tables are sound");
    object.strict(true);
    let error = patch(&mut object, &[&relinear::elf::passes::Dce]).expect_err("a pass gives up");
    let text = error.to_string();
    for part in ["section \".text\"", "slot 14", "pass dce", "no instruction has the code 0xff"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(error.reason, PatchReason::Pass(relinear::passes::Error::Cfg(_))));
    seen.0.insert("PatchReason::Pass".to_owned());

    // Every single byte that is changed in the symbol table or in .BTF.ext is taken, or refused with a place.
    let mut kinds = BTreeSet::new();
    for name in [".symtab", ".BTF.ext"] {
        let section = whole.section_by_name(name).expect("it has one");
        let (start, size) = section.file_range().expect("it is in the file");
        for at in start..start + size.min(2000) {
            let mut bad = file.clone();
            bad[usize::try_from(at).expect("short")] ^= 0xff;
            match Object::parse(&bad) {
                Err(ElfError::Section { section, offset, reason }) => {
                    let text = ElfError::Section { section: section.clone(), offset, reason }.to_string();
                    assert_eq!(text, format!("section {section:?}, offset {offset:#x}: {reason}"));
                    kinds.insert("ElfError::Section");
                }
                Err(ElfError::Symbol { symbol, index, reason }) => {
                    let text = ElfError::Symbol { symbol: symbol.clone(), index, reason }.to_string();
                    assert_eq!(text, format!("symbol {index} {symbol:?}: {reason}"));
                    assert!(index < 1000);
                    kinds.insert("ElfError::Symbol");
                }
                Err(error) => panic!("{error}"),
                Ok(_) => {}
            }
        }
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    seen.0.extend(kinds.into_iter().map(str::to_owned));

    elf_edits(seen, &file);
    // No object that can be read is known to bring these about.
    let write = ElfError::Write { reason: "too long".to_owned() };
    seen.is("ElfError::Write", write.clone(), "cannot write the object: too long");
    assert_eq!(PatchReason::Elf(write.clone()), PatchReason::Elf(write));
    seen.0.insert("PatchReason::Elf".to_owned());
    verified(seen, &file, start);
}

/// Of a file, and where its `.text` begins.
#[cfg(feature = "elf")]
fn verified(seen: &mut Seen, file: &[u8], start: u64) {
    use relinear::elf::verify;

    let error = verify(&file[..10], file, &[]).expect_err("it is cut short");
    let text = error.to_string();
    assert!(text.starts_with("cannot verify the object: "), "{text}");
    seen.is("VerifyError::Unreadable", error, &text);
    let mut bad = file.to_vec();
    let slot = 14;
    bad[usize::try_from(start).expect("short") + slot * 8] = 0xff;
    let error = verify(file, &bad, &[]).expect_err("a byte was changed");
    let text = "what was written is wrong: section \".text\", offset 0x70: the byte is 0xff, and should be ";
    assert!(error.to_string().starts_with(text), "{error}");
    let text = error.to_string();
    seen.is("VerifyError::Wrong", error, &text);
}

/// Edits of an object that it cannot take.
#[cfg(feature = "elf")]
fn elf_edits(seen: &mut Seen, file: &[u8]) {
    use relinear::elf::Object;

    let mut object = Object::parse(file).expect("an object");
    let arena = Arena::new();
    let other = [MOV, Insn::exit()];
    let other = List::<Bpf>::new(&arena, &other).and_then(|list| list.linearize()).expect("it is laid out");
    let count = object.code().len();
    let error = object.replace_code(count, other.units.clone(), &other.map).expect_err("there is none");
    let text = format!("no code section {count}: the object has {count}");
    seen.is("ElfError::NoSuchCode", error, &text);
    let error = object.replace_code(0, other.units, &other.map).expect_err("it is of another program");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot edit section {:?} at slot ", object.code()[0].name())),
        "{text}"
    );
    seen.is("ElfError::Edit", error, &text);
    let refused = |object: &mut Object<'_>, inserted: &[Insn]| {
        let insns = object.code()[0].program().insns.clone();
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &insns).expect("a list");
        list.prepend(Handle::new(2), inserted).expect("it is taken");
        let new = list.linearize().expect("it is laid out");
        object.replace_code(0, new.units, &new.map).expect_err("it is refused")
    };
    let error = refused(&mut object, &[MOV, Insn::mov64_imm(11, 0)]);
    let name = object.code()[0].name();
    let text = format!(
        "cannot edit section {name:?} at slot 2: what was inserted there is no valid instruction: the destination field cannot \
         be 11"
    );
    seen.is("ElfError::Insn", error, &text);
    transactions(&mut object, seen);
}

/// Errors of an edit of the whole object.
#[cfg(feature = "elf")]
fn transactions(object: &mut relinear::elf::Object<'_>, seen: &mut Seen) {
    use relinear::elf::Data;

    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let error = edit.add_data(&Data::zeroed("", 8)).expect_err("it has no name");
    seen.is("ElfError::Add", error, "cannot add \"\": no name for a symbol");
    let list = edit.code(0).expect("there is one").list();
    let all: Vec<_> = list.iter().collect();
    list.append(all[all.len() - 1], Patch::new(&[Insn::ja(0)])).expect("there is room");
    let error = edit.finish().err().expect("the last jump leads nowhere");
    let text = error.to_string();
    let section = object.code()[0].name();
    assert!(text.starts_with(&format!("cannot edit section {section:?}: ")), "{text}");
    seen.is("ElfError::Code", error, &text);
    let changes = [(); 2].map(|()| {
        let mut edit = object.edit(&arena);
        edit.add_data(&Data::zeroed("new", 8)).expect("the name is free");
        edit.finish().expect("it fits")
    });
    let [first, second] = changes;
    object.commit(first).expect("it is of this object");
    let error = object.commit(second).expect_err("the object was changed");
    seen.is("ElfError::Stale", error, "the object was changed after this change of it was worked out");
}

#[test]
fn every_error_of_the_table_says_where_and_why() {
    let mut seen = Seen(BTreeSet::new());
    core(&mut seen);
    table(&mut seen);
    editor(&mut seen);
    control_flow(&mut seen);
    encoding(&mut seen);
    assembler(&mut seen);
    passes_of(&mut seen);
    #[cfg(feature = "elf")]
    elf(&mut seen);
    let table = include_str!("../../src/errors.md");
    let listed = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    // These have tables of their own, beside what else is tested of them: `scratch`, `kernel_image`, `objects::script`; an
    // error of `count` is one of the others.
    let elsewhere = ["ScratchReason", "ImportReason", "SymbolsError", "ScriptReason", "CountError"];
    let missed = listed.difference(&seen.0);
    let missed: Vec<&String> =
        missed.filter(|name| !elsewhere.iter().any(|kind| name.starts_with(kind))).collect();
    let of_elf = |name: &&&String| {
        ["ElfError", "PatchReason", "VerifyError"].iter().any(|of_elf| name.starts_with(of_elf))
    };
    assert!(missed.iter().all(|name| !cfg!(feature = "elf") && of_elf(&name)), "not provoked: {missed:?}");
    assert!(seen.0.is_subset(&listed), "not in the table: {:?}", seen.0.difference(&listed));
}
