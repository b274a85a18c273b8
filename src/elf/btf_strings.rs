//! [`Strings`]: the strings of a `.BTF` section by offset, however many refer to one long string.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Strings that end with a NUL each. An offset may lead into the middle of one.
#[derive(Clone, Debug)]
pub(crate) struct Strings<'d> {
    /// All of them; a byte that is a part of no character is a `?` here.
    text: Cow<'d, str>,
    /// The bytes as they stand in the section, if there are others in `text`.
    bytes: Option<Cow<'d, [u8]>>,
    /// The strings that are not empty, by their ends, which ascend.
    ends: Vec<End>,
}

/// A string that is not empty.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Where its NUL is.
    at: usize,
    /// Where the longest part up to there that is UTF-8 starts.
    text: usize,
}

impl<'d> Strings<'d> {
    /// O(bytes).
    pub(crate) fn new(data: &'d [u8]) -> Self {
        let mut ends = Vec::new();
        let mut start = 0;
        while let Some(len) = data[start..].iter().position(|&byte| byte == 0) {
            let at = start + len;
            if len > 0 {
                ends.push(End { at, text: at - utf8_end(&data[start..at]) });
            }
            start = at + 1;
        }
        match core::str::from_utf8(data) {
            Ok(text) => Self { text: text.into(), bytes: None, ends },
            Err(_) => Self { text: patched(data).into(), bytes: Some(data.into()), ends },
        }
    }

    /// The same, without the section.
    pub(crate) fn into_owned(self) -> Strings<'static> {
        let bytes = self.bytes.map(|bytes| bytes.into_owned().into());
        Strings { text: self.text.into_owned().into(), bytes, ends: self.ends }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// The bytes from `offset` to the next NUL, if there is one and they are UTF-8. O(log strings).
    pub(crate) fn get(&self, offset: usize) -> Option<&str> {
        if *self.bytes().get(offset)? == 0 {
            return Some("");
        }
        let end = self.ends.get(self.ends.partition_point(|end| end.at < offset))?;
        if offset < end.text { None } else { self.text.get(offset..end.at) }
    }
}

/// The length of the longest end of `bytes` that is UTF-8.
fn utf8_end(bytes: &[u8]) -> usize {
    // What is no UTF-8 is a part of a character, or no part of any: nothing that starts within it is UTF-8 either.
    let last = bytes.utf8_chunks().last();
    last.filter(|chunk| chunk.invalid().is_empty()).map_or(0, |chunk| chunk.valid().len())
}

/// `bytes`, with a `?` for each that is a part of no character.
fn patched(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_offset_gives_what_stands_there(
            data in prop::collection::vec(prop::sample::select(b"\0\0ab\xc3\xa4\xe2\x82\xac\xf0\xff".to_vec()), 0..40),
        ) {
            let strings = Strings::new(&data);
            prop_assert_eq!(strings.bytes(), &data[..]);
            for offset in 0..=data.len() + 1 {
                let rest = data.get(offset..).unwrap_or_default();
                let end = rest.iter().position(|&byte| byte == 0);
                let expected = end.and_then(|end| core::str::from_utf8(&rest[..end]).ok());
                prop_assert_eq!(strings.get(offset), expected, "at {}", offset);
            }
        }
    }
}
