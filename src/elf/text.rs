//! [`Text`] and [`Name`]: text out of an object, in a form that is safe to print.
//!
//! A name in an object is whatever bytes somebody put there: it may move the cursor of a terminal, forge a line of
//! a report, or be as long as the file. Every message of this crate that shows such a text shows it by these types.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};
use core::ops::Deref;

/// What stands for the part that was cut out.
const GAP: &str = "...";

/// A text that is shown without control characters, and not longer than a reader wants it.
///
/// [`Display`](fmt::Display) escapes control characters, and those that change the order or the lines of a text
/// (`\n`, `\u{1b}`, `\u{202e}`), as Rust does in strings; all other characters stand for themselves, backslashes,
/// too, so that a text that was escaped is not escaped again. A text of more characters than the limit loses its
/// middle, for which `...` stands. O(limit), however long the text is.
///
/// ```
/// use relinear::elf::Text;
///
/// assert_eq!(Text::new("xdp\u{1b}[2J").to_string(), r"xdp\u{1b}[2J");
/// assert_eq!(Text::new("a_name_that_is_long").at_most(9).to_string(), "a_n...ong");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<'a> {
    text: &'a str,
    most: usize,
}

impl<'a> Text<'a> {
    /// Whether a character does something to a terminal, or to the text around it, rather than being shown.
    #[must_use]
    pub fn acts(character: char) -> bool {
        acts(character)
    }

    /// How many characters of a text are shown unless told otherwise: the kernel takes no longer names
    /// (`KSYM_NAME_LEN`).
    pub const MOST: usize = 512;

    /// Shows `text`, or [`MOST`](Self::MOST) characters of it. O(1).
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, most: Self::MOST }
    }

    /// Shows `most` characters, before control characters are escaped. O(1).
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Shows all characters. O(1).
    #[must_use]
    pub fn whole(self) -> Self {
        self.at_most(usize::MAX)
    }

    /// The text as it is, control characters and all, but not longer than the limit. O(limit).
    #[must_use]
    pub fn cut(self) -> Cow<'a, str> {
        match self.parts() {
            (all, None) => Cow::Borrowed(all),
            (head, Some(tail)) => Cow::Owned([head, GAP, tail].concat()),
        }
    }

    /// The start of the text, and its end if there is something between them that is left out.
    fn parts(self) -> (&'a str, Option<&'a str>) {
        // A character has at least one byte, and at most four.
        if self.text.len() <= self.most || self.text.chars().nth(self.most).is_none() {
            return (self.text, None);
        }
        let shown = self.most.saturating_sub(GAP.len());
        let (head, tail) = (shown - shown / 2, shown / 2);
        let head = self.text.char_indices().nth(head).map_or(self.text.len(), |(at, _)| at);
        let tail = match tail.checked_sub(1) {
            Some(before) => self.text.char_indices().nth_back(before).map_or(0, |(at, _)| at),
            None => self.text.len(),
        };
        (&self.text[..head], Some(&self.text[tail..]))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = self.parts();
        escape(head, f)?;
        let Some(tail) = tail else { return Ok(()) };
        f.write_str(GAP)?;
        escape(tail, f)
    }
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut plain = text.split_inclusive(acts);
    // Each part but the last one ends with a character to escape.
    plain.try_for_each(|part| match part.chars().next_back().filter(|&last| acts(last)) {
        Some(last) => {
            f.write_str(&part[..part.len() - last.len_utf8()])?;
            last.escape_default().try_for_each(|escaped| f.write_char(escaped))
        }
        None => f.write_str(part),
    })
}

/// Whether the character does something to a terminal, or to the text around it, rather than being shown: control
/// characters, line and paragraph separators, marks that set the direction, and what has no width.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A name out of an object: of a section, a function, a symbol. A copy of it shares its bytes.
///
/// It is a `str` in all but how it is shown: by [`Text`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as it is. O(1).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a file; what is no UTF-8 becomes U+FFFD. O(length).
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into())
    }
}

impl Default for Name {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text::new(self).fmt(f)
    }
}

/// In quotes, and cut as [`Display`](fmt::Display) cuts it.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*Text::new(self).cut(), f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn no_character_that_acts_is_left() {
        for character in ('\0'..=char::MAX).filter(|&character| acts(character)) {
            let text = format!("a{character}b{character}");
            for shown in [Text::new(&text).to_string(), Name::from(text.as_str()).to_string()] {
                assert!(!shown.contains(acts), "{shown:?}");
                assert!(shown.starts_with("a\\") && shown.contains("b\\"), "{shown:?}");
            }
        }
        assert_eq!(Text::new("\\ \"'é漢").to_string(), "\\ \"'é漢");
        assert_eq!(Text::new("\n\t\r\0\x7f\u{9b}").to_string(), r"\n\t\r\u{0}\u{7f}\u{9b}");
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        let text = "äbcdefghijklmnöp";
        let at_most = |most| Text::new(text).at_most(most).cut().into_owned();
        assert_eq!(at_most(16), text);
        assert_eq!(at_most(17), text);
        assert_eq!(at_most(15), "äbcdef...klmnöp");
        assert_eq!(at_most(8), "äbc...öp");
        assert_eq!(at_most(4), "ä...");
        assert_eq!(at_most(0), "...");
        for most in 4..20 {
            assert!(at_most(most).chars().count() <= most, "{most}");
        }
        assert_eq!(Text::new(text).whole().cut(), text);
        let long = "x\n".repeat(Text::MOST);
        assert!(Text::new(&long).to_string().len() <= 2 * Text::MOST);
        assert_eq!(Text::new(&long).whole().to_string().len(), 3 * Text::MOST);
        assert_eq!(format!("{:?}", Name::from(text)), format!("{text:?}"));
    }
}
