//! Numbers, strings and lists. Numbers are big-endian; strings and lists carry their length before them.

use bstr::BString;

use super::WireError;

/// Reads from a payload.
pub(super) struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Take(bytes)
    }

    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(WireError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.raw(N)?.try_into().map_err(|_| WireError::Short)
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn digest(&mut self) -> Result<[u8; 32], WireError> {
        self.array()
    }

    /// The first half of a digest.
    pub fn id(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value(what)),
        }
    }

    /// A flag, then the digest when it is set.
    pub fn maybe_digest(&mut self) -> Result<Option<[u8; 32]>, WireError> {
        self.flag("a digest flag")?.then(|| self.digest()).transpose()
    }

    /// Nanoseconds since the epoch, as seconds and the rest.
    pub fn time(&mut self) -> Result<i128, WireError> {
        let (seconds, nanos) = (self.i64()?, self.u32()?);
        if nanos >= 1_000_000_000 {
            return Err(WireError::Value("a time"));
        }
        Ok(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
    }

    /// A string of at most `limit` bytes.
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<BString, WireError> {
        let size = usize::from(self.u16()?);
        check(what, size, limit)?;
        Ok(self.raw(size)?.into())
    }

    /// A count of at most `limit` things of at least `least` bytes each: more than can be there is refused at once.
    pub fn count(&mut self, what: &'static str, limit: usize, least: usize) -> Result<usize, WireError> {
        let size = self.u32()? as usize;
        check(what, size, limit)?;
        if size.saturating_mul(least) > self.0.len() {
            return Err(WireError::Short);
        }
        Ok(size)
    }

    /// A list of strings.
    pub fn texts(&mut self, what: &'static str, count: usize, limit: usize) -> Result<Vec<BString>, WireError> {
        let count = self.count(what, count, 2)?;
        (0..count).map(|_| self.text(what, limit)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn end(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Left(left)),
        }
    }
}

pub(super) fn check(what: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit {
        return Err(WireError::Limit { what, size, limit });
    }
    Ok(())
}

/// Writes into a payload.
pub(super) struct Put<'a>(pub &'a mut Vec<u8>);

impl Put<'_> {
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn u16(&mut self, n: u16) {
        self.raw(&n.to_be_bytes());
    }

    pub fn u32(&mut self, n: u32) {
        self.raw(&n.to_be_bytes());
    }

    pub fn u64(&mut self, n: u64) {
        self.raw(&n.to_be_bytes());
    }

    pub fn i32(&mut self, n: i32) {
        self.raw(&n.to_be_bytes());
    }

    pub fn i64(&mut self, n: i64) {
        self.raw(&n.to_be_bytes());
    }

    pub fn flag(&mut self, yes: bool) {
        self.u8(u8::from(yes));
    }

    pub fn maybe_digest(&mut self, digest: Option<&[u8; 32]>) {
        self.flag(digest.is_some());
        if let Some(digest) = digest {
            self.raw(digest);
        }
    }

    /// A time beyond what 64 bits of seconds can say is clamped.
    pub fn time(&mut self, nanos: i128) {
        let seconds = nanos.div_euclid(1_000_000_000);
        let rest = nanos.rem_euclid(1_000_000_000);
        let clamped = seconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        self.i64(i64::try_from(clamped).unwrap_or_default());
        self.u32(u32::try_from(rest).unwrap_or_default());
    }

    pub fn text(&mut self, what: &'static str, text: &[u8], limit: usize) -> Result<(), WireError> {
        check(what, text.len(), limit)?;
        let size = u16::try_from(text.len()).map_err(|_| WireError::Limit {
            what,
            size: text.len(),
            limit: usize::from(u16::MAX),
        })?;
        self.u16(size);
        self.raw(text);
        Ok(())
    }

    pub fn count(&mut self, what: &'static str, count: usize, limit: usize) -> Result<(), WireError> {
        check(what, count, limit)?;
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }

    pub fn texts(
        &mut self,
        what: &'static str,
        texts: &[BString],
        count: usize,
        limit: usize,
    ) -> Result<(), WireError> {
        self.count(what, texts.len(), count)?;
        texts.iter().try_for_each(|text| self.text(what, text, limit))
    }
}
