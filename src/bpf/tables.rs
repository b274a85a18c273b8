//! What becomes of the tables of a [`Program`] when its list is linearized: the kernel's rules, as instances of
//! the generic ones.

use alloc::vec::Vec;

use bitvec::vec::BitVec;

use super::opcode::{CALL_LOCAL, LD_FUNC};
use super::{Aux, Bpf, EditError, Editor, FuncInfo, Insn, LineInfo, Moves, Program, Table};
use crate::core::{At, Deleted, Handle, Isa, Linear, Map, Origin, TableError};

/// Checks the tables of a program that is going to be edited.
pub(super) fn check<T>(program: &Program<T>) -> Result<(), EditError> {
    check_positions(program)?;
    let Program { subprogs, func_info, .. } = program;
    for (record, &FuncInfo { insn_off, .. }) in func_info.iter().enumerate() {
        let start = subprogs.get(record).copied();
        if start != Some(insn_off) {
            return Err(EditError::FuncInfo { record, insn_off, start });
        }
    }
    check_references_are_displacements(&program.insns)
}

/// As [`check`], for a section of an object: some of its functions may have no function information, and one may
/// have several records.
#[cfg(feature = "elf")]
pub(super) fn check_section<T>(program: &Program<T>) -> Result<(), EditError> {
    check_positions(program)?;
    let mut last = 0;
    for (record, &FuncInfo { insn_off, .. }) in program.func_info.iter().enumerate() {
        if insn_off < last || program.subprogs.binary_search(&insn_off).is_err() {
            return Err(EditError::FuncInfo { record, insn_off, start: None });
        }
        last = insn_off;
    }
    Ok(())
}

fn check_positions<T>(program: &Program<T>) -> Result<(), EditError> {
    let Program { subprogs, line_info, pokes, insn_array, .. } = program;
    let slots = program.insns.len();
    ascending(slots, subprogs.iter().copied()).map_err(of(Table::Subprogs))?;
    ascending(slots, line_info.iter().map(|record| record.insn_off)).map_err(of(Table::LineInfo))?;
    inside(slots, pokes).map_err(of(Table::Pokes))?;
    inside(slots, insn_array).map_err(of(Table::InsnArray))?;
    if let Some(&start) = subprogs.first().filter(|&&start| start != 0) {
        return Err(EditError::NoEntry { start });
    }
    Ok(())
}

/// Refuses what the kernel shows of a program of several functions that it has translated to machine code: references
/// hold numbers of subprograms (`bpf_insn_prepare_dump` in its sources).
fn check_references_are_displacements(insns: &[Insn]) -> Result<(), EditError> {
    let mut at = 0;
    while let Some(insn) = insns.get(at) {
        let second = insns.get(at + 1).filter(|_| insn.is_wide());
        let is_call = insn.is_call() && insn.src() == CALL_LOCAL && insn.off != 0;
        let is_address = insn.src() == LD_FUNC && second.is_some_and(|second| second.imm != 0);
        if is_call || is_address {
            return Err(EditError::KernelDump { at: u32::try_from(at).unwrap_or(u32::MAX) });
        }
        at += insn.slots();
    }
    Ok(())
}

fn of(table: Table) -> impl Fn(TableError) -> EditError {
    move |error| EditError::Table { table, error }
}

fn check_inside(slots: usize, record: usize, position: u32) -> Result<(), TableError> {
    if (position as usize) < slots {
        return Ok(());
    }
    let limit = u32::try_from(slots.saturating_sub(1)).unwrap_or(u32::MAX);
    Err(TableError::Outside { record, position, limit })
}

fn ascending(slots: usize, positions: impl Iterator<Item = u32>) -> Result<(), TableError> {
    let mut before = None;
    for (record, position) in positions.enumerate() {
        check_inside(slots, record, position)?;
        if before >= Some(position) {
            return Err(TableError::Order { record });
        }
        before = Some(position);
    }
    Ok(())
}

fn inside(slots: usize, positions: &[Option<u32>]) -> Result<(), TableError> {
    let known = positions.iter().enumerate().filter_map(|(record, &position)| Some((record, position?)));
    for (record, position) in known {
        check_inside(slots, record, position)?;
    }
    Ok(())
}

/// The program that a linearized list is, with the tables of the one that was edited.
pub(super) fn adjust<T: Copy + Default>(
    editor: &Editor<'_, T>,
    linear: Linear<Insn, Aux<T>>,
) -> Result<(Program<T>, Moves), EditError> {
    let Linear { units: insns, aux, map, .. } = linear;
    let program = editor.program;
    let Subprogs { starts: subprogs, func_info, added_from, numbers } = adjust_subprogs(editor, &map)?;
    check_jumps(editor, &insns, &subprogs, &map)?;
    let mut line_info = program.line_info.clone();
    map.adjust_points(&mut line_info, At::Start, Deleted::Slide, |record| &mut record.insn_off)
        .map_err(of(Table::LineInfo))?;
    // Code that was added is no place for the line of deleted code before it: the kernel adds subprograms when dead
    // code is gone, and drops the lines of what is deleted at the end.
    line_info.truncate(line_info.partition_point(|record| record.insn_off < added_from));
    let line_info = set_lines(line_info, editor, &map);
    let mut pinned = BitVec::new();
    if program.pinned.any() {
        pinned.resize(insns.len(), false);
        for new in program.pinned.iter_ones().filter_map(|old| map.position_of(u32::try_from(old).ok()?)) {
            pinned.set(new as usize, true);
        }
    }
    let pokes = program.pokes.iter().map(|&old| map.position_of(old?)).collect();
    let live_label = |old: u32| (!map.is_deleted(old)).then(|| map.new_of(old));
    let insn_array = program.insn_array.iter().map(|&old| live_label(old?)).collect();
    let program = Program { insns, subprogs, pinned, func_info, line_info, aux, pokes, insn_array };
    Ok((program, Moves { map, subprogs: numbers }))
}

/// Where subprograms start, and the functions they are.
struct Subprogs {
    starts: Vec<u32>,
    func_info: Vec<FuncInfo>,
    /// Where the first subprogram starts that was added, or else the end.
    added_from: u32,
    /// The new number of each subprogram, by its old one.
    numbers: Vec<Option<u32>>,
}

fn adjust_subprogs<T: Copy + Default>(editor: &Editor<'_, T>, map: &Map) -> Result<Subprogs, EditError> {
    let Program { subprogs, func_info, .. } = editor.program;
    let mut starts = subprogs.clone();
    // Numbers of subprograms, those that were added being the last ones.
    let mut removed = map.adjust_starts(&mut starts, |start| start).map_err(of(Table::Subprogs))?;
    let mut added = Vec::new();
    let mut end = map.new_len();
    for (index, subprog) in editor.added.iter().enumerate().rev() {
        match map.start_of_handle(subprog.first) {
            Some(start) if start < end => {
                added.push((start, subprog.type_id));
                end = start;
            }
            _ => removed.push(subprogs.len() + index),
        }
    }
    // For the generic rule, what was added at the end belongs to the last subprogram.
    if !added.is_empty() && starts.last() == Some(&end) {
        starts.pop();
        removed.push(subprogs.len() - 1);
    }
    removed.sort_unstable();
    if editor.whole && removed.first() == Some(&0) {
        return Err(EditError::EntryDeleted);
    }
    check_references(editor, map, &removed)?;
    let kept = (0..subprogs.len()).filter(|number| removed.binary_search(number).is_err());
    let mut types = Vec::with_capacity(func_info.len() + added.len());
    for (number, &start) in kept.zip(&starts) {
        let first = func_info.partition_point(|record| record.insn_off < subprogs[number]);
        let of_it = func_info[first..].iter().take_while(|record| record.insn_off == subprogs[number]);
        types.extend(of_it.map(|record| FuncInfo { insn_off: start, ..*record }));
    }
    // The records of a whole program are those of its first subprograms, so none follows one that is missing.
    let mut complete = !editor.whole || func_info.len() == subprogs.len();
    for &(start, type_id) in added.iter().rev() {
        complete &= !editor.whole || type_id.is_some();
        types.extend(type_id.filter(|_| complete).map(|type_id| FuncInfo { insn_off: start, type_id }));
        starts.push(start);
    }
    let mut next = 0;
    let number = |old: usize| {
        let is_kept = removed.binary_search(&old).is_err();
        next += u32::from(is_kept);
        is_kept.then(|| next - 1)
    };
    let numbers = (0..subprogs.len() + editor.added.len()).map(number).collect();
    Ok(Subprogs { starts, func_info: types, added_from: end, numbers })
}

/// Checks that no call or callback refers to a removed subprogram.
fn check_references<T: Copy + Default>(
    editor: &Editor<'_, T>,
    map: &Map,
    removed: &[usize],
) -> Result<(), EditError> {
    if removed.is_empty() {
        return Ok(());
    }
    let Editor { program, list, added, .. } = editor;
    let number_of = |target: Handle| match program.subprogs.binary_search(&target.index()) {
        Ok(number) => Some(number),
        Err(_) => Some(program.subprogs.len() + added.iter().position(|subprog| subprog.first == target)?),
    };
    for handle in list.iter() {
        let jumps = list.insn(handle).is_some_and(|insn| insn[0].is_jump());
        let target = if jumps { None } else { list.target(handle, 0) };
        let gone = target.and_then(number_of).filter(|number| removed.binary_search(number).is_ok());
        if let Some(subprog) = gone {
            let position = map.new_of_handle(handle).map(|new| map.origin(new).position());
            return Err(EditError::DeadSubprog { origin: position.unwrap_or(handle.index()), subprog });
        }
    }
    Ok(())
}

/// Checks that every jump stays in its subprogram. In a section of an object, a jump that always left it may go on.
fn check_jumps<T: Copy + Default>(
    editor: &Editor<'_, T>,
    insns: &[Insn],
    subprogs: &[u32],
    map: &Map,
) -> Result<(), EditError> {
    let mut later = subprogs.iter().copied().peekable();
    let (mut start, mut end) = (0, map.new_len());
    for (from, insn) in (0_u32..).zip(insns) {
        while let Some(next) = later.next_if(|&next| next <= from) {
            start = next;
            end = later.peek().copied().unwrap_or(map.new_len());
        }
        if insn.is_jump() {
            let insn = core::slice::from_ref(insn);
            let to = i64::from(from) + Bpf.base(insn, 0) + Bpf.read(insn, 0);
            let leaves = to < i64::from(start) || to >= i64::from(end);
            if leaves && (editor.whole || !always_left(editor.program, map.origin(from))) {
                return Err(EditError::LeavesSubprog { origin: map.origin(from).position(), from, to });
            }
        }
    }
    Ok(())
}

/// Whether this was a jump into another subprogram before the edits.
fn always_left<T>(program: &Program<T>, origin: Origin) -> bool {
    let Origin::Original(at) = origin else { return false };
    let insn = &program.insns[at as usize..][..1];
    let number = |at: u32| program.subprogs.partition_point(|&start| start <= at);
    insn[0].is_jump()
        && u32::try_from(i64::from(at) + Bpf.base(insn, 0) + Bpf.read(insn, 0))
            .map_or(true, |to| number(to) != number(at) || to as usize >= program.insns.len())
}

/// Puts the lines that were set into the adjusted table.
fn set_lines<T: Copy + Default>(table: Vec<LineInfo>, editor: &Editor<'_, T>, map: &Map) -> Vec<LineInfo> {
    let live = editor.lines.iter().filter(|(handle, _)| editor.list.is_live(*handle));
    let placed =
        live.filter_map(|&(handle, line)| Some(LineInfo { insn_off: map.new_of_handle(handle)?, ..line }));
    let mut set: Vec<LineInfo> = placed.collect();
    set.sort_by_key(|line| line.insn_off);
    // Of several for one instruction, the last one that was set.
    set.reverse();
    set.dedup_by_key(|line| line.insn_off);
    set.reverse();
    let mut table = table.into_iter().peekable();
    let mut set = set.into_iter().peekable();
    let mut lines = Vec::new();
    // The line of the table that is in force.
    let mut current = None;
    while let Some(line) = set.next() {
        lines.extend(core::iter::from_fn(|| {
            current = Some(table.next_if(|record| record.insn_off < line.insn_off)?);
            current
        }));
        current = table.next_if(|record| record.insn_off == line.insn_off).or(current);
        lines.push(line);
        let next = [table.peek(), set.peek()].into_iter().flatten().map(|record| record.insn_off).min();
        let mut after = line.insn_off + 1..next.unwrap_or(map.new_len());
        let resumes = after.find(|&at| matches!(map.origin(at), Origin::Original(_)));
        lines.extend(current.zip(resumes).map(|(line, insn_off)| LineInfo { insn_off, ..line }));
    }
    lines.extend(table);
    lines
}
