//! Bytes on their way through a shell we do not know.

/// Quotes a word for a POSIX shell: any bytes but NUL come out as they went in.
pub fn quote(word: &[u8]) -> Vec<u8> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./,:=@%+".contains(b);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for &b in word {
        match b {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            _ => quoted.push(b),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Writes bytes so that no shell sees anything in them: letters, digits and a few signs stand for themselves, all else
/// is `\0ooo`, which `printf %b` turns back.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for &b in bytes {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(b),
            b'_' | b'-' | b'.' | b'/' | b',' | b':' | b'@' | b'+' => text.push(b),
            _ => text.extend_from_slice(format!("\\0{b:03o}").as_bytes()),
        }
    }
    text
}
