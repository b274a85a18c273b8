//! Tables of text: columns as wide as what is in them, but never so wide that a row does not fit a terminal.

use std::fmt::Write as _;
use std::io::{self, Write};

use relinear::elf::Text;

use super::print::{Line, Style};

/// The most characters of a name in a cell, before control characters are escaped.
const MOST: usize = 40;

/// A name as a cell.
pub(super) fn cell(name: &str) -> String {
    Text::new(name).at_most(MOST).to_string()
}

/// Writes a table. The first `left` columns are flush left, the others, numbers, flush right.
pub(super) fn write(
    out: &mut dyn Write,
    style: Style,
    head: &[&str],
    rows: &[Vec<String>],
    left: usize,
) -> io::Result<()> {
    let width = |column: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or_default().max(title.len())
    };
    let widths: Vec<usize> = head.iter().enumerate().map(|(column, title)| width(column, title)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((column, cell), &width) in cells.enumerate().zip(&widths) {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if column < left {
                write!(text, "{gap}{cell:<width$}")
            } else {
                write!(text, "{gap}{cell:>width$}")
            };
        }
        text.truncate(text.trim_end().len());
        text
    };
    writeln!(out, "{}", style.title(line(&mut head.iter().copied())))?;
    for row in rows {
        writeln!(out, "{}", Line(line(&mut row.iter().map(String::as_str))))?;
    }
    Ok(())
}
