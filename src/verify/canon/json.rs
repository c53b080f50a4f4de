//! The message's side: one JSON object, cut into its top-level tokens.
//!
//! serde_json says whether the bytes are JSON at all; the cutting here relies on that. Numbers stay text, since a
//! double would round them. Only rows that differ, quarantined ones and those on their way come through here.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{Canon, Form, Forms, parse_moment};

/// The digest of a message. One that is not a JSON object with distinct keys is its own bytes, so that equal bytes
/// still have equal digests.
pub(in crate::verify) fn message_digest(forms: &Forms, value: Option<&[u8]>, canon: &mut Canon) -> u64 {
    canon.clear();
    let Some(bytes) = value else { return forms.digest_bytes(b"tombstone") };
    let Some(members) = members(bytes) else { return forms.digest_bytes(bytes) };
    for (name, form) in &forms.columns {
        match members.iter().find(|(key, _)| key.as_ref() == name.as_bytes()) {
            None => canon.null(),
            Some((_, token)) => put(*form, token, canon),
        }
    }
    forms.digest(canon)
}

fn put(form: Form, token: &[u8], canon: &mut Canon) {
    match token.first() {
        Some(b'n') => canon.null(),
        _ if form == Form::Json => canon.value(token),
        Some(b'"') => {
            let text = text_of(token).unwrap_or(Cow::Borrowed(token));
            let instant = match form {
                Form::Local(_) | Form::Instant => parse_moment(&text),
                _ => None,
            };
            match (form, instant) {
                (_, Some((micros, offset))) => canon.instant(form, micros - offset.unwrap_or(0)),
                (Form::Double, None) => canon.double_text(&text),
                (Form::Number, None) => canon.number(&text),
                (_, None) => canon.value(&text),
            }
        }
        Some(b'-' | b'0'..=b'9') => match form {
            Form::Double => canon.double_text(token),
            Form::Number => canon.number(token),
            _ => canon.value(token),
        },
        _ => canon.value(token),
    }
}

/// The text of a string token, copied only where it has escapes; `None` for one that is no text (a lone surrogate).
fn text_of(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = &token[1..token.len() - 1];
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_slice::<String>(token).ok().map(|text| Cow::Owned(text.into_bytes()))
}

/// A name and its value's token.
type Member<'a> = (Cow<'a, [u8]>, &'a [u8]);

/// The members of an object as (name, token); `None` where the bytes are anything else, or a name comes twice.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut at = skip_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let end = end_of_token(bytes, at);
        let name = text_of(&bytes[at..end])?;
        at = skip_space(bytes, end);
        debug_assert_eq!(bytes.get(at), Some(&b':'));
        at = skip_space(bytes, at + 1);
        let end = end_of_token(bytes, at);
        if members.iter().any(|(known, _)| *known == name) {
            return None;
        }
        members.push((name, &bytes[at..end]));
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
    Some(members)
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the token that starts at `at` ends, in a document known to be well-formed.
fn end_of_token(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    let mut quoted = false;
    let mut position = at;
    while let Some(&byte) = bytes.get(position) {
        if quoted {
            match byte {
                b'\\' => position += 1,
                b'"' => quoted = false,
                _ => {}
            }
            if !quoted && depth == 0 {
                return position + 1;
            }
        } else {
            match byte {
                b'"' => quoted = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return position,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return position + 1;
                    }
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return position,
                _ => {}
            }
        }
        position += 1;
    }
    bytes.len()
}
