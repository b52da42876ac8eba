//! Steps over JSON text and checks it, without making values of it. Accepts what `serde_json`
//! accepts as a `RawValue`: any depth, numbers of any size, `\u` escapes that pair up with nothing.

/// The text is not JSON. What is wrong where is asked of `serde_json`, when somebody wants to know.
#[derive(Debug)]
pub(super) struct Broken;

/// A text and what was seen of it. Positions are handed in and out, so that they stay in registers.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    /// A backslash was stepped over.
    pub(super) escaped: bool,
    /// The containers around the present value, innermost last; lent, so that it is allocated once.
    open: &'a mut Vec<u8>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str, open: &'a mut Vec<u8>) -> Self {
        Self { text: text.as_bytes(), escaped: false, open }
    }

    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The byte at `at`; behind the end NUL, which no JSON holds outside of a mistake.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Whether `word` stands at `at`. Keys are short: a call for each would cost more than this.
    #[inline(always)]
    pub(super) fn holds(&self, at: usize, word: &[u8]) -> bool {
        let Some(text) = self.text.get(at..at + word.len()) else { return false };
        let Some(last) = word.len().checked_sub(8) else { return text.iter().eq(word) };
        let same = |from: usize| text[from..from + 8] == word[from..from + 8];
        let mut from = 0;
        while from < last {
            if !same(from) {
                return false;
            }
            from += 8;
        }
        same(last)
    }

    /// The first position from `at` on that holds no whitespace.
    #[inline(always)]
    pub(super) fn space(&self, at: usize) -> usize {
        if self.byte(at) > b' ' { at } else { self.spaces(at) }
    }

    #[inline(never)]
    fn spaces(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
        }
        at
    }

    /// Steps over `byte`, which must stand at `at`.
    #[inline(always)]
    pub(super) fn expect(&self, at: usize, byte: u8) -> Result<usize, Broken> {
        if self.byte(at) == byte { Ok(at + 1) } else { Err(Broken) }
    }

    /// Steps over the value that begins at `at`.
    #[inline(always)]
    pub(super) fn value(&mut self, at: usize) -> Result<usize, Broken> {
        match self.byte(at) {
            b'"' => self.string(at + 1),
            b'{' | b'[' => self.container(at),
            _ => self.scalar(at),
        }
    }

    /// Steps over the rest of a string whose quote stands before `at`.
    #[inline(always)]
    pub(super) fn string(&mut self, mut at: usize) -> Result<usize, Broken> {
        loop {
            while let Some(word) = self.text.get(at..).and_then(|rest| rest.first_chunk()) {
                let special = specials(u64::from_le_bytes(*word));
                if special != 0 {
                    at += special.trailing_zeros() as usize / 8;
                    break;
                }
                at += 8;
            }
            match self.byte(at) {
                b'"' => return Ok(at + 1),
                b'\\' => at = self.escape(at + 1)?,
                0..=0x1f => return Err(Broken),
                // The last bytes of the text are looked at one by one.
                _ => at += 1,
            }
        }
    }

    #[inline(never)]
    fn escape(&mut self, at: usize) -> Result<usize, Broken> {
        self.escaped = true;
        match self.byte(at) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
            b'u' if (1..=4).all(|place| self.byte(at + place).is_ascii_hexdigit()) => Ok(at + 5),
            _ => Err(Broken),
        }
    }

    #[inline]
    fn scalar(&mut self, at: usize) -> Result<usize, Broken> {
        let word: &[u8] = match self.byte(at) {
            b'-' => return self.number(at + 1),
            b'0'..=b'9' => return self.number(at),
            b't' => b"true",
            b'f' => b"false",
            b'n' => b"null",
            _ => return Err(Broken),
        };
        if self.text[at..].starts_with(word) { Ok(at + word.len()) } else { Err(Broken) }
    }

    #[inline]
    fn number(&mut self, at: usize) -> Result<usize, Broken> {
        let mut end = self.digits(at)?;
        if self.byte(at) == b'0' && end > at + 1 {
            return Err(Broken);
        }
        if self.byte(end) == b'.' {
            end = self.digits(end + 1)?;
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            end = self.digits(end + 1 + sign)?;
        }
        Ok(end)
    }

    /// Steps over digits, of which there must be one.
    #[inline(always)]
    fn digits(&mut self, at: usize) -> Result<usize, Broken> {
        let mut end = at;
        while self.byte(end).is_ascii_digit() {
            end += 1;
        }
        if end > at { Ok(end) } else { Err(Broken) }
    }

    /// Steps over an object or a list, however deep, in a loop.
    #[inline(never)]
    fn container(&mut self, mut at: usize) -> Result<usize, Broken> {
        self.open.clear();
        loop {
            // A value begins here.
            match self.byte(at) {
                open @ (b'{' | b'[') => {
                    self.open.push(open);
                    at = self.space(at + 1);
                    // `]` and `}` stand two behind their opposites.
                    if self.byte(at) != open + 2 {
                        at = self.member(at, open)?;
                        continue;
                    }
                    self.open.pop();
                    at += 1;
                }
                b'"' => at = self.string(at + 1)?,
                _ => at = self.scalar(at)?,
            }
            // A value ends here, and what is around it may.
            loop {
                let Some(&open) = self.open.last() else { return Ok(at) };
                at = self.space(at);
                match self.byte(at) {
                    b',' => {
                        let next = self.space(at + 1);
                        at = self.member(next, open)?;
                        break;
                    }
                    close if close == open + 2 => {
                        self.open.pop();
                        at += 1;
                    }
                    _ => return Err(Broken),
                }
            }
        }
    }

    /// Where the value of the next member begins: behind its key, in an object.
    #[inline(always)]
    fn member(&mut self, at: usize, open: u8) -> Result<usize, Broken> {
        if open == b'[' {
            return Ok(at);
        }
        let key = self.expect(at, b'"')?;
        let end = self.string(key)?;
        self.colon(end)
    }

    /// Steps over a colon and the whitespace around it.
    #[inline(always)]
    pub(super) fn colon(&self, at: usize) -> Result<usize, Broken> {
        let at = self.expect(self.space(at), b':')?;
        Ok(self.space(at))
    }
}

/// The top bit of each byte that a string cannot just hold: quotes, backslashes and control
/// characters. Bits above the lowest may be wrong.
#[inline(always)]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * b'"' as u64));
    let backslashes = zeros(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & (ONES * 0x80)
}
