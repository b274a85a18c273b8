//! Tables worked out by hand: lines that were set, subprograms that come and go, pins, errors.

use relinear::bpf::opcode::{CALL_LOCAL, JEQ, LD_FUNC};
use relinear::bpf::{Aux, Cpu, EditError, Editor, FuncInfo, Insn, LineInfo, Moves, Program, Table};
use relinear::passes::kernel::{Kernel, prologue};
use relinear::{Arena, Branch, Error, Handle, Patch, TableError, Target};

const NOP: Insn = Insn::mov64_imm(3, 0);
const NEW: Insn = Insn::mov64_imm(4, 1);

/// A line whose number tells which one it is.
fn line(insn_off: u32, number: u32) -> LineInfo {
    LineInfo { insn_off, file_name_off: 7, line_off: 8, line_col: number << 10 }
}

/// The lines of a program: place and number.
fn lines<T>(program: &Program<T>) -> Vec<(u32, u32)> {
    program.line_info.iter().map(|record| (record.insn_off, record.line_col >> 10)).collect()
}

fn types(program: &Program) -> Vec<(u32, u32)> {
    program.func_info.iter().map(|record| (record.insn_off, record.type_id)).collect()
}

/// Three subprograms of four slots, with types 10, 11, 12, of which the first one calls the others. Lines are at their
/// starts.
fn three() -> Program {
    let body = [NOP, NOP, NOP, Insn::exit()];
    let mut insns = [body; 3].concat();
    insns[0] = Insn::call_local(3);
    insns[1] = Insn::call_local(6);
    let subprogs = vec![0, 4, 8];
    let func_info =
        subprogs.iter().zip(10..).map(|(&insn_off, type_id)| FuncInfo { insn_off, type_id }).collect();
    let line_info = subprogs.iter().map(|&start| line(start, 100 + start)).collect();
    Program { insns, subprogs, func_info, line_info, ..Program::default() }
}

fn edited(program: &Program, edit: impl FnOnce(&mut Editor<'_>)) -> Result<Program, EditError> {
    let arena = Arena::new();
    let mut editor = program.edit(&arena)?;
    edit(&mut editor);
    editor.linearize()
}

fn delete(editor: &mut Editor<'_>, slots: impl IntoIterator<Item = u32>) {
    slots.into_iter().for_each(|at| editor.list().delete(Handle::new(at)).unwrap());
}

#[test]
fn nothing_changes_without_edits() {
    let program = Program {
        pinned: (0..12).map(|at| at % 5 == 0).collect(),
        pokes: vec![Some(3), None],
        insn_array: vec![None, Some(11)],
        ..three()
    };
    let out = edited(&program, |_| {}).unwrap();
    assert_eq!(out.aux.len(), program.insns.len());
    assert_eq!(Program { aux: Vec::new(), ..out }, program);
    assert_eq!(edited(&Program::default(), |_| {}).unwrap(), Program::default());
}

#[test]
fn a_subprogram_loses_its_head_its_tail_or_all() {
    let head = edited(&three(), |editor| delete(editor, [4, 5])).unwrap();
    assert_eq!(
        (types(&head), lines(&head)),
        (vec![(0, 10), (4, 11), (6, 12)], vec![(0, 100), (4, 104), (6, 108)])
    );
    assert_eq!([head.insns[0].imm, head.insns[1].imm], [3, 4]);

    let tail = edited(&three(), |editor| delete(editor, [6, 7])).unwrap();
    assert_eq!(types(&tail), [(0, 10), (4, 11), (6, 12)]);

    let all = edited(&three(), |editor| delete(editor, [0, 4, 5, 6, 7])).unwrap();
    assert_eq!((types(&all), lines(&all)), (vec![(0, 10), (3, 12)], vec![(0, 100), (3, 108)]));
    assert_eq!(all.insns[0].imm, 2);

    let last = edited(&three(), |editor| delete(editor, [1, 8, 9, 10, 11])).unwrap();
    assert_eq!((types(&last), lines(&last)), (vec![(0, 10), (3, 11)], vec![(0, 100), (3, 104)]));

    // From the middle of one to the middle of the next but one: the kernel has no rule for it.
    let across = edited(&three(), |editor| delete(editor, [0, 2, 3, 4, 5, 6, 7, 8, 9])).unwrap();
    assert_eq!((types(&across), lines(&across)), (vec![(0, 10), (1, 12)], vec![(0, 100), (1, 108)]));
    assert_eq!(across.insns, [Insn::call_local(0), NOP, Insn::exit()]);
}

#[test]
fn subprograms_at_the_ends_may_lose_all_but_the_entry() {
    let error = edited(&three(), |editor| delete(editor, 0..4)).unwrap_err();
    assert_eq!(error, EditError::EntryDeleted);
    let error = edited(&three(), |editor| delete(editor, 0..12)).unwrap_err();
    assert_eq!(error, EditError::EntryDeleted);
    // What stands in for it is an entry.
    let kept = edited(&three(), |editor| {
        editor.list().prepend(Handle::new(0), &[NEW][..]).unwrap();
        delete(editor, 0..4);
    });
    assert_eq!(types(&kept.unwrap()), [(0, 10), (1, 11), (5, 12)]);
}

#[test]
fn a_reference_to_a_deleted_subprogram_is_an_error() {
    let error = edited(&three(), |editor| delete(editor, 4..8)).unwrap_err();
    assert_eq!(error, EditError::DeadSubprog { origin: 0, subprog: 1 });
    // Nothing is left that it could lead to.
    let error = edited(&three(), |editor| delete(editor, 8..12)).unwrap_err();
    assert_eq!(error, EditError::Core(Error::DeletedTail { origin: 1, target: Handle::new(8) }));
    let mut callback = three();
    callback.insns.splice(1..3, Insn::ld_imm64_kind(2, LD_FUNC, 2, 0));
    let error = edited(&callback, |editor| delete(editor, [0, 4, 5, 6, 7])).unwrap_err();
    assert_eq!(error, EditError::DeadSubprog { origin: 1, subprog: 1 });
    assert_eq!(error.to_string(), "the instruction at 1 refers to subprogram 1, of which all was deleted");
    // An inserted one too.
    let error = edited(&three(), |editor| {
        let call = [Branch::new(1, Target::Original(4))];
        let patch = [NEW, Insn::new(0x85, 0, CALL_LOCAL, 0, 0)];
        editor.list().append(Handle::new(2), Patch::new(&patch).branches(&call)).unwrap();
        delete(editor, [0, 4, 5, 6, 7]);
    });
    assert_eq!(error.unwrap_err(), EditError::DeadSubprog { origin: 2, subprog: 1 });
}

#[test]
fn a_jump_that_comes_to_leave_its_subprogram_is_an_error() {
    let mut program = three();
    program.insns[4] = Insn::ja(1);
    let out = edited(&program, |editor| delete(editor, [6])).unwrap();
    assert_eq!(out.insns[4], Insn::ja(1));
    let error = edited(&program, |editor| delete(editor, [6, 7])).unwrap_err();
    assert_eq!(error, EditError::LeavesSubprog { origin: 4, from: 4, to: 6 });
    assert_eq!(error.to_string(), "the jump at 4, now at 4, leads to 6, in another subprogram");
}

#[test]
fn one_slot_becomes_two_and_two_become_one() {
    let mut program = three();
    program.insns.splice(5..7, Insn::ld_imm64(1, 5));
    program.line_info.insert(2, line(5, 105));
    let out = edited(&program, |editor| {
        editor.list().replace(Handle::new(5), &[NEW][..]).unwrap();
        editor.list().replace(Handle::new(2), &Insn::ld_imm64(1, 6)[..]).unwrap();
        editor.list().replace(Handle::new(9), &Insn::ld_imm64(1, 7)[..]).unwrap();
    });
    let out = out.unwrap();
    assert_eq!(out.subprogs, [0, 5, 8]);
    assert_eq!(lines(&out), [(0, 100), (5, 104), (6, 105), (8, 108)]);
    assert_eq!([out.insns[0].imm, out.insns[1].imm], [4, 6]);
    assert_eq!((out.insns[6], out.insns.len()), (NEW, 13));
}

#[test]
fn lines_that_were_set_hold_for_inserted_code_alone() {
    let mut program = three();
    program.line_info.insert(1, line(2, 102));
    let append = |editor: &mut Editor<'_>, at: u32, code: &[Insn]| {
        editor.list().append(Handle::new(at), code).unwrap()
    };
    // The line before goes on behind it.
    let out = edited(&program, |editor| {
        let new = append(editor, 0, &[NEW, NEW]);
        editor.set_line(new.first(), line(77, 900)).unwrap();
    });
    assert_eq!(lines(&out.unwrap()), [(0, 100), (1, 900), (3, 100), (4, 102), (6, 104), (10, 108)]);
    // Unless a line begins there.
    let out = edited(&program, |editor| {
        let new = append(editor, 1, &[NEW, NEW]);
        editor.set_line(new.at(1), line(77, 900)).unwrap();
    });
    assert_eq!(lines(&out.unwrap()), [(0, 100), (3, 900), (4, 102), (6, 104), (10, 108)]);
    // What is prepended takes the line of the instruction, which then needs a record of its own again.
    let out = edited(&program, |editor| {
        let new = editor.list().prepend(Handle::new(4), &[NEW, NEW, NEW][..]).unwrap();
        editor.set_line(new.at(0), line(77, 900)).unwrap();
        editor.set_line(new.at(2), line(77, 901)).unwrap();
    });
    assert_eq!(lines(&out.unwrap()), [(0, 100), (2, 102), (4, 900), (6, 901), (7, 104), (11, 108)]);
    // The last one counts; a deleted one does not; original instructions may have one.
    let out = edited(&program, |editor| {
        let new = append(editor, 11, &[NEW, NEW]);
        editor.set_line(new.at(0), line(0, 900)).unwrap();
        editor.set_line(new.at(1), line(0, 901)).unwrap();
        editor.set_line(new.at(0), line(0, 902)).unwrap();
        editor.set_line(Handle::new(9), line(0, 903)).unwrap();
        editor.list().delete(new.at(1)).unwrap();
    });
    let expected = [(0, 100), (2, 102), (4, 104), (8, 108), (9, 903), (10, 108), (12, 902)];
    assert_eq!(lines(&out.unwrap()), expected);
    let error = edited(&program, |editor| {
        let result = editor.set_line(Handle::new(70), line(0, 1));
        assert_eq!(result, Err(Error::NoSuchInsn(Handle::new(70))));
    });
    error.unwrap();
}

#[test]
fn a_subprogram_is_added_at_the_end() {
    let code = [Insn::mov64_reg(0, 1), Insn::exit()];
    let add = |editor: &mut Editor<'_>, type_id| editor.add_subprog(Patch::new(&code), type_id).unwrap();
    let out = edited(&three(), |editor| {
        let named = add(editor, Some(20));
        add(editor, None);
        let call = [Branch::new(0, Target::Handle(named.first()))];
        editor.list().replace(Handle::new(2), Patch::new(&[Insn::call_local(0)]).branches(&call)).unwrap();
        editor.set_line(named.first(), line(0, 900)).unwrap();
    });
    let out = out.unwrap();
    assert_eq!(out.subprogs, [0, 4, 8, 12, 14]);
    assert_eq!(types(&out), [(0, 10), (4, 11), (8, 12), (12, 20)]);
    assert_eq!(out.insns[2], Insn::call_local(9));
    for before in 0..3 {
        let error = edited(&three(), |editor| {
            for _ in 0..before {
                add(editor, Some(19));
            }
            let gone = add(editor, Some(20));
            add(editor, Some(21));
            let call = [Branch::new(0, Target::Handle(gone.first()))];
            editor
                .list()
                .replace(Handle::new(2), Patch::new(&[Insn::call_local(0)]).branches(&call))
                .unwrap();
            editor.list().delete(gone.at(0)).unwrap();
            editor.list().delete(gone.at(1)).unwrap();
        });
        assert_eq!(error.unwrap_err(), EditError::DeadSubprog { origin: 2, subprog: 3 + before });
    }
    // Instead of the last one.
    let out = edited(&three(), |editor| {
        add(editor, Some(20));
        let gone = add(editor, Some(21));
        delete(editor, [1, 8, 9, 10, 11]);
        editor.list().delete(gone.at(0)).unwrap();
        editor.list().delete(gone.at(1)).unwrap();
    });
    let out = out.unwrap();
    assert_eq!((out.subprogs.clone(), types(&out)), (vec![0, 3, 7], vec![(0, 10), (3, 11), (7, 20)]));
}

#[test]
fn pins_pokes_and_jump_tables() {
    let program = Program {
        pinned: (0..12).map(|at| matches!(at, 1 | 5 | 6)).collect(),
        pokes: vec![Some(5), Some(6), Some(10)],
        insn_array: vec![Some(5), Some(6), None, Some(0)],
        ..three()
    };
    let out = edited(&program, |editor| {
        editor.list().prepend(Handle::new(5), &[NEW, NEW][..]).unwrap();
        delete(editor, [6]);
    });
    let out = out.unwrap();
    assert_eq!(out.pinned.iter_ones().collect::<Vec<_>>(), [1, 7]);
    assert_eq!(out.pokes, [Some(7), None, Some(11)]);
    assert_eq!(out.insn_array, [Some(5), None, None, Some(0)]);
}

#[test]
fn long_jumps_take_a_longer_form_with_all_tables() {
    let mut program = three();
    program.insns[4] = Insn::jmp_imm(JEQ, 1, 0, 1);
    let far = vec![NEW; 40_000];
    let arena = Arena::new();
    let mut editor = program.edit(&arena).unwrap();
    editor.list().append(Handle::new(5), &far[..]).unwrap();
    assert!(matches!(editor.linearize_with_map(), Err(EditError::Core(Error::OutOfRange { origin: 4, .. }))));
    let (out, Moves { map, .. }) = editor.linearize_relaxed(Cpu::V4).unwrap();
    assert_eq!(out.insns.len(), map.new_len() as usize);
    assert!(out.insns.len() > 12 + far.len());
    assert_eq!(out.subprogs, [0, 4, map.new_of(8)]);
    assert_eq!(lines(&out)[2], (map.new_of(8), 108));
}

#[test]
fn tables_out_of_order_are_refused() {
    let refused = |change: fn(&mut Program)| {
        let mut program = three();
        change(&mut program);
        edited(&program, |_| {}).unwrap_err()
    };
    let table = |table, error| EditError::Table { table, error };
    let outside = |record, position| TableError::Outside { record, position, limit: 11 };
    assert_eq!(refused(|program| program.subprogs[0] = 1), EditError::NoEntry { start: 1 });
    assert_eq!(
        refused(|program| program.subprogs[2] = 4),
        table(Table::Subprogs, TableError::Order { record: 2 })
    );
    assert_eq!(refused(|program| program.subprogs[2] = 12), table(Table::Subprogs, outside(2, 12)));
    assert_eq!(
        refused(|program| program.line_info[1].insn_off = 0),
        table(Table::LineInfo, TableError::Order { record: 1 })
    );
    assert_eq!(refused(|program| program.pokes.push(Some(12))), table(Table::Pokes, outside(0, 12)));
    assert_eq!(
        refused(|program| program.insn_array = vec![None, Some(u32::MAX)]),
        table(Table::InsnArray, outside(1, u32::MAX))
    );
    assert_eq!(
        refused(|program| program.func_info[1].insn_off = 5),
        EditError::FuncInfo { record: 1, insn_off: 5, start: Some(4) }
    );
    let error = refused(|program| program.func_info.push(FuncInfo { insn_off: 9, type_id: 1 }));
    assert_eq!(error, EditError::FuncInfo { record: 3, insn_off: 9, start: None });
    assert_eq!(error.to_string(), "function 3 is at 9, but there is no subprogram 3");
    assert_eq!(
        refused(|program| program.insns[11] = Insn::ld_imm64(0, 0)[0]),
        EditError::Core(Error::BadInsn { at: 11 })
    );
}

#[test]
fn a_jump_to_the_first_instruction_skips_the_prologue_since_6_12() {
    let facts = |seen, zext_dst, user| Aux { seen, zext_dst, user };
    let program = Program {
        // r3 = 0;  if r1 == 0 goto -2;  exit
        insns: vec![Insn::mov32_imm(3, 0), Insn::jmp_imm(JEQ, 1, 0, -2), Insn::exit()],
        subprogs: vec![0],
        aux: vec![facts(true, false, 5), facts(true, false, 6), facts(true, false, 7)],
        line_info: vec![line(0, 1), line(1, 2)],
        ..Program::default()
    };
    // if r1 == 1 goto +1;  r4 = 1
    let code = [Insn::jmp_imm(JEQ, 1, 1, 1), NEW];
    let short = [Insn::mov32_imm(2, 1)];
    for (version, off, inner) in [(Kernel::V6_1, -4, -5), (Kernel::V6_12, -2, -2), (Kernel::V6_18, -2, -2)] {
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        let inserted = prologue(editor.list(), Handle::new(0), Patch::new(&code), version).unwrap();
        let (out, _) = editor.linearize_with_map().unwrap();
        assert_eq!((lines(&out), &out.insns[..2]), (vec![(0, 1), (3, 2)], &code[..]));
        assert_eq!(out.insns[3].off, off, "{version:?}");
        let expected = [facts(true, false, 0), facts(true, false, 0), facts(true, true, 5)];
        assert_eq!(out.aux[..3], expected, "{version:?}");
        // Another one in front of it.
        prologue(editor.list(), inserted.first(), Patch::new(&short), version).unwrap();
        let out = editor.linearize().unwrap();
        assert_eq!((out.insns[0], &out.insns[1..3]), (short[0], &code[..]));
        assert_eq!(out.insns[4].off, inner, "{version:?}");
        assert_eq!(out.aux[..2], [facts(true, true, 0), facts(true, false, 0)], "{version:?}");
    }
}

#[test]
fn a_prologue_belongs_to_its_subprogram() {
    let out = edited(&three(), |editor| {
        prologue(editor.list(), Handle::new(4), Patch::new(&[NEW, NEW]), Kernel::V6_18).unwrap();
        prologue(editor.list(), Handle::new(8), Patch::new(&[NEW]), Kernel::V6_1).unwrap();
    });
    let out = out.unwrap();
    assert_eq!(
        (types(&out), lines(&out)),
        (vec![(0, 10), (4, 11), (10, 12)], vec![(0, 100), (4, 104), (10, 108)])
    );
    // Calls run it, of either kind.
    assert_eq!([out.insns[0].imm, out.insns[1].imm], [3, 8]);
}

/// Which number each subprogram has then, by its old one.
#[test]
fn numbers_of_subprograms_follow() {
    let numbers = |edit: fn(&mut Editor<'_>)| {
        let program = three();
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        edit(&mut editor);
        let (out, moves) = editor.linearize_with_map().unwrap();
        let kept: Vec<u32> = moves.subprogs.iter().flatten().copied().collect();
        assert!(kept.iter().copied().eq(0..u32::try_from(out.subprogs.len()).unwrap()));
        for (old, new) in moves.subprogs.iter().take(3).enumerate() {
            let start = new.map(|new| out.subprogs[new as usize]);
            assert!(start.is_none_or(|start| start == moves.map.start_of(program.subprogs[old])));
        }
        moves.subprogs
    };
    assert_eq!(numbers(|_| ()), [Some(0), Some(1), Some(2)]);
    // Calls of the second one go as well.
    assert_eq!(numbers(|editor| delete(editor, [0, 4, 5, 6, 7])), [Some(0), None, Some(1)]);
    let added = numbers(|editor| {
        let code = [Insn::mov64_reg(0, 1), Insn::exit()];
        let gone = editor.add_subprog(Patch::new(&code), None).unwrap();
        editor.add_subprog(Patch::new(&code), Some(7)).unwrap();
        delete(editor, [1, 8, 9, 10, 11]);
        editor.list().delete(gone.at(0)).unwrap();
        editor.list().delete(gone.at(1)).unwrap();
    });
    assert_eq!((added.len(), added[2..].to_vec()), (5, vec![None, None, Some(2)]));
}
