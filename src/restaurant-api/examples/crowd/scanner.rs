//! Blocks in a body: their offsets and their times.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;

/// Microseconds that share one line of the tally of ages.
pub(crate) const AGE_STEP: u64 = 50;
/// Older ones are counted in the last line: 10 seconds.
const AGE_LINES: usize = 200_000;

/// How many events were how old when they arrived, in steps of [`AGE_STEP`], over all clients.
pub(crate) type Ages = Rc<RefCell<Vec<u64>>>;

pub(crate) fn ages() -> Ages {
    Rc::new(RefCell::new(vec![0; AGE_LINES]))
}

#[derive(Clone)]
pub(crate) struct Scanner {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Times that an offset did not follow the one before, though no gap was announced.
    pub(crate) torn: u64,
    pub(crate) gaps: u64,
    ages: Option<Ages>,
    last: Option<u64>,
    carry: Vec<u8>,
    began: u64,
    minute: ([u8; 17], u64),
}

impl Scanner {
    pub(crate) fn new(ages: Option<Ages>) -> Self {
        Self {
            events: 0,
            bytes: 0,
            torn: 0,
            gaps: 0,
            ages,
            last: None,
            carry: Vec::new(),
            began: u64::MAX,
            minute: ([0; 17], 0),
        }
    }

    /// What came before does not count; what follows must still follow it.
    pub(crate) fn begin(&mut self) {
        (self.events, self.bytes) = (0, 0);
        self.began = now();
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let now = self.ages.as_ref().map_or(0, |_| now());
        let mut rest = bytes;
        if !self.carry.is_empty() {
            // The end of a block may itself be torn apart.
            let split = self.carry.ends_with(b"\n") && rest.starts_with(b"\n");
            let end = if split { Some(1) } else { memmem::find(rest, b"\n\n").map(|at| at + 2) };
            let Some(end) = end else {
                self.carry.extend_from_slice(rest);
                return;
            };
            let mut block = std::mem::take(&mut self.carry);
            block.extend_from_slice(&rest[..end]);
            self.block(&block, now);
            block.clear();
            self.carry = block;
            rest = &rest[end..];
        }
        while let Some(end) = memmem::find(rest, b"\n\n") {
            self.block(&rest[..end], now);
            rest = &rest[end + 2..];
        }
        self.carry.extend_from_slice(rest);
    }

    fn block(&mut self, block: &[u8], now: u64) {
        let Some(rest) = block.strip_prefix(b"id: ") else {
            return;
        };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let offset = number(&rest[..digits]);
        if rest[digits..].starts_with(b"\nevent: gap\n") {
            self.gaps += 1;
        } else {
            self.events += 1;
            self.torn += u64::from(self.last.is_some_and(|last| last + 1 != offset));
            self.age(rest, now);
        }
        self.last = Some(offset);
    }

    fn age(&mut self, block: &[u8], now: u64) {
        let Some(ages) = &self.ages else { return };
        let Some(at) = memmem::find(block, b"\"ts\":\"") else { return };
        // 2026-11-20T17:57:20.123456Z
        let text = &block[at + 6..at + 33];
        if text[..17] != self.minute.0 {
            let time = String::from_utf8_lossy(text);
            let micros = chrono::DateTime::parse_from_rfc3339(&time)
                .map_or(0, |time| time.timestamp_micros() as u64);
            self.minute.0.copy_from_slice(&text[..17]);
            self.minute.1 = micros - micros % 60_000_000;
        }
        let ts = self.minute.1 + number(&text[17..19]) * 1_000_000 + number(&text[20..26]);
        if ts >= self.began {
            let line = (now.saturating_sub(ts) / AGE_STEP) as usize;
            ages.borrow_mut()[line.min(AGE_LINES - 1)] += 1;
        }
    }
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}
