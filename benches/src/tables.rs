//! Side tables, and the kernel's rule for moving them, the same code for all peers with a map.

/// A line record, laid out as the kernel's `struct bpf_line_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Line {
    /// The slot it stands at.
    pub off: u32,
    /// Offset of the file's name.
    pub file: u32,
    /// Offset of the line's text.
    pub line: u32,
    /// Line and column number.
    pub col: u32,
}

/// Moves line records. Of those that end at one slot the last is kept: the instruction's own, or the
/// last of the deleted ones before it.
pub fn move_lines(lines: &[Line], out: &mut Vec<Line>, new_of: impl Fn(u32) -> u32) {
    out.clear();
    out.reserve(lines.len());
    for line in lines {
        let line = Line { off: new_of(line.off), ..*line };
        match out.last_mut() {
            Some(last) if last.off == line.off => *last = line,
            _ => out.push(line),
        }
    }
}

/// Moves starts of subprograms. A subprogram that lost all its instructions is gone.
pub fn move_starts(starts: &[u32], out: &mut Vec<u32>, new_of: impl Fn(u32) -> u32) {
    out.clear();
    out.reserve(starts.len());
    for &start in starts {
        let start = new_of(start);
        if out.last() != Some(&start) {
            out.push(start);
        }
    }
}
