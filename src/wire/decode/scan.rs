//! A JSON reader over one message: checked access, no recursion, no allocation except for escaped text.
//!
//! Grammar is RFC 8259, strictly. Used by `super` only; it knows nothing of columns.

use wide::u8x16;

use super::number::{MAX_PLAIN_DIGITS, Number};
use crate::model::Reason;

/// Deepest nesting that is walked through: PostgreSQL and other JSON readers rarely go past a hundred, and one
/// bit a level fits a register.
pub const MAX_DEPTH: u32 = u128::BITS;

/// Bytes that are searched at once: most texts of a row end within the first.
const BLOCK: usize = 16;

const FIRST_PRINTABLE: u8 = 0x20;

pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// The bytes between two quotes, as they stand in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawString<'a> {
    pub(super) bytes: &'a [u8],
    /// There are backslashes: `unescape` must run before the text means anything.
    pub(super) escaped: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Scanner { text, at: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What was not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Steps over `byte` if it comes next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.text.get(self.at..self.at + bytes.len()).is_some_and(|here| is_same(here, bytes))
    }

    /// Steps over `bytes` if they come next.
    #[inline]
    pub(super) fn eat_all(&mut self, bytes: &[u8]) -> bool {
        let found = self.starts_with(bytes);
        if found {
            self.at += bytes.len();
        }
        found
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        if self.eat(byte) { Ok(()) } else { Err(Reason::NotJson) }
    }

    pub(super) fn literal(&mut self, word: &[u8]) -> Result<(), Reason> {
        if self.eat_all(word) { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Nothing but space follows.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(Reason::NotJson) }
    }

    /// Reads a string from its opening quote. Escapes are checked for their form, not for what they mean.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<RawString<'a>, Reason> {
        self.expect(b'"')?;
        let start = self.at;
        self.at = find_special(self.text, start);
        if self.eat(b'"') {
            return Ok(RawString { bytes: &self.text[start..self.at - 1], escaped: false });
        }
        self.string_from_escape(start)
    }

    /// The string that began at `start`, from its first byte that is neither text nor the closing quote.
    #[cold]
    fn string_from_escape(&mut self, start: usize) -> Result<RawString<'a>, Reason> {
        loop {
            match self.next() {
                Some(b'"') => return Ok(RawString { bytes: &self.text[start..self.at - 1], escaped: true }),
                Some(b'\\') => self.escape()?,
                // A raw control character, or the end of the message.
                _ => return Err(Reason::NotJson),
            }
            self.at = find_special(self.text, self.at);
        }
    }

    fn escape(&mut self) -> Result<(), Reason> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                let digits = self.text.get(self.at..self.at + 4).ok_or(Reason::NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Reason::NotJson);
                }
                self.at += 4;
                Ok(())
            }
            _ => Err(Reason::NotJson),
        }
    }

    /// Reads a number, if one comes next.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Option<Number<'a>>, Reason> {
        let start = self.at;
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Ok(None);
        }
        let negative = self.eat(b'-');
        let mut mantissa = 0;
        let integer = self.digits(&mut mantissa)?;
        if integer.len() > 1 && integer[0] == b'0' {
            return Err(Reason::NotJson);
        }
        let fraction = if self.eat(b'.') { self.digits(&mut mantissa)? } else { &[] };
        let mut number = Number { text: &[], negative, integer, fraction, mantissa, exponent: None };
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            number.exponent = Some(self.exponent()?);
        }
        number.text = &self.text[start..self.at];
        Ok(Some(number))
    }

    /// One digit or more; `mantissa` is meaningful only up to `MAX_PLAIN_DIGITS` of them in all.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> Result<&'a [u8], Reason> {
        const _: () = assert!(10u64.checked_pow(MAX_PLAIN_DIGITS as u32).is_some());
        let start = self.at;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.at += 1;
        }
        if self.at == start { Err(Reason::NotJson) } else { Ok(&self.text[start..self.at]) }
    }

    fn exponent(&mut self) -> Result<i64, Reason> {
        let negative = match self.peek() {
            Some(sign @ (b'+' | b'-')) => {
                self.at += 1;
                sign == b'-'
            }
            _ => false,
        };
        let digits = self.digits(&mut 0)?;
        // Past what any message's digits could make up for, the exact size no longer matters.
        const CAP: i64 = i64::MAX / 100;
        let size = digits.iter().fold(0i64, |size, &digit| (size * 10 + i64::from(digit - b'0')).min(CAP));
        Ok(if negative { -size } else { size })
    }

    /// Walks over one value of any kind and returns its text.
    pub(super) fn skip_value(&mut self) -> Result<&'a [u8], Reason> {
        self.skip_space();
        let start = self.at;
        // One bit a level, the innermost lowest: set for an object.
        let (mut objects, mut depth) = (0u128, 0u32);
        loop {
            self.skip_space();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    if depth == MAX_DEPTH {
                        return Err(Reason::TooDeep);
                    }
                    depth += 1;
                    let is_object = open == b'{';
                    objects = objects << 1 | u128::from(is_object);
                    self.skip_space();
                    if self.peek() != Some(if is_object { b'}' } else { b']' }) {
                        if is_object {
                            self.member_name()?;
                        }
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            // A value is complete, or its container is about to close: leave every container that ends here.
            loop {
                if depth == 0 {
                    return Ok(&self.text[start..self.at]);
                }
                self.skip_space();
                let in_object = objects & 1 == 1;
                match self.next() {
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    Some(b',') => {
                        if in_object {
                            self.member_name()?;
                        }
                        break;
                    }
                    _ => return Err(Reason::NotJson),
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Reason> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.number()?.map(drop).ok_or(Reason::NotJson),
        }
    }

    /// `"name" :` with any space around; leaves the scanner before the value.
    pub(super) fn member_name(&mut self) -> Result<RawString<'a>, Reason> {
        self.skip_space();
        let name = self.string()?;
        self.skip_space();
        self.expect(b':')?;
        Ok(name)
    }
}

/// Equality of two slices of one length. At the length of a key a comparison costs less than the call of one that takes
/// any length: two loads a side, which may overlap.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    match left.len() {
        4..8 => both_ends::<4>(left, right),
        8..16 => both_ends::<8>(left, right),
        16..32 => both_ends::<16>(left, right),
        _ => left == right,
    }
}

/// Together the ends cover slices of up to twice their length.
#[inline]
fn both_ends<const N: usize>(left: &[u8], right: &[u8]) -> bool {
    left.first_chunk::<N>() == right.first_chunk::<N>() && left.last_chunk::<N>() == right.last_chunk::<N>()
}

/// The first quote, backslash or control character at or after `at`; the length of the text where there is none.
#[inline]
fn find_special(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(offset) = first_special(block) {
            return at + offset;
        }
        at += BLOCK;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < FIRST_PRINTABLE).unwrap_or(rest.len())
}

#[inline]
fn first_special(block: &[u8; BLOCK]) -> Option<usize> {
    let bytes = u8x16::new(*block);
    let control = bytes.simd_lt(u8x16::splat(FIRST_PRINTABLE));
    let hits = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control;
    let hits = hits.to_bitmask();
    (hits != 0).then(|| hits.trailing_zeros() as usize)
}

/// Appends the text that `raw` stands for. A surrogate without its partner is no text at all.
pub(super) fn unescape(raw: &[u8], into: &mut Vec<u8>) -> Result<(), Reason> {
    let mut rest = raw;
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        into.extend_from_slice(&rest[..slash]);
        let kind = *rest.get(slash + 1).ok_or(Reason::NotJson)?;
        rest = &rest[slash + 2..];
        let plain = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = unicode_escape(&mut rest)?;
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return Err(Reason::NotJson),
        };
        into.push(plain);
    }
    into.extend_from_slice(rest);
    Ok(())
}

fn unicode_escape(rest: &mut &[u8]) -> Result<char, Reason> {
    let first = hex4(rest)?;
    let code = match first {
        0xd800..=0xdbff => {
            *rest = rest.strip_prefix(b"\\u").ok_or(Reason::NotJson)?;
            let second = hex4(rest)?;
            if !(0xdc00..=0xdfff).contains(&second) {
                return Err(Reason::NotJson);
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        }
        _ => first,
    };
    char::from_u32(code).ok_or(Reason::NotJson)
}

fn hex4(rest: &mut &[u8]) -> Result<u32, Reason> {
    let (digits, tail) = rest.split_first_chunk::<4>().ok_or(Reason::NotJson)?;
    *rest = tail;
    digits
        .iter()
        .try_fold(0, |code, &digit| (digit as char).to_digit(16).map(|value| code << 4 | value).ok_or(Reason::NotJson))
}
