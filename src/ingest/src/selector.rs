//! Picks the values that routes name out of JSON text in one pass, without building a tree.

mod scan;
#[cfg(test)]
mod tests;

use scan::{Broken, Scan};
use serde_json::value::RawValue;

/// A set of JSON pointers (RFC 6901), compiled. Equal pointers share a slot.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    root: Node,
    slots: usize,
}

/// A value on the way to wanted ones.
#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<Child>,
    /// The child that came first when it was last looked.
    first: usize,
}

#[derive(Debug)]
struct Child {
    name: Box<str>,
    /// The name as a compact writer has it, with quotes and colon; empty where it needs escapes.
    written: Box<[u8]>,
    /// The child's place, where its name can be one in a list.
    index: Option<usize>,
    node: Node,
    /// The child that came after this one when it was last looked. Events of one type have their
    /// keys in the same order, so this is a good guess.
    next: usize,
}

impl Child {
    fn new(name: String) -> Self {
        let needs_escapes = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let written = match name.as_bytes().iter().any(needs_escapes) {
            true => String::new(),
            false => format!("\"{name}\":"),
        };
        Self {
            index: name.parse().ok().filter(|n: &usize| n.to_string() == name),
            written: written.into_bytes().into(),
            name: name.into(),
            node: Node::default(),
            next: 0,
        }
    }
}

impl Selector {
    /// Adds a pointer and returns its slot.
    pub(crate) fn add(&mut self, pointer: &str) -> usize {
        let mut node = &mut self.root;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let at = match node.children.iter().position(|child| *child.name == *token) {
                Some(at) => at,
                None => {
                    node.children.push(Child::new(token));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].node;
        }
        *node.slot.get_or_insert_with(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// Fills `found` with the place of each pointer's value in `json`, `None` where there is none;
    /// of equal keys the last counts. The whole text is checked to be one JSON value, and the keys
    /// beside wanted ones to be text.
    pub(crate) fn pick(&mut self, json: &str, found: &mut Found) -> Result<(), serde_json::Error> {
        found.places.clear();
        found.places.resize(self.slots, NOWHERE);
        let mut scan = Scan::new(json, &mut found.open);
        let start = scan.space(0);
        let end = self.root.pick(&mut scan, start, &mut found.places);
        found.plain = !scan.escaped;
        match end {
            Ok(end) if scan.space(end) == json.len() => Ok(()),
            _ => Err(mistake(json)),
        }
    }
}

/// What is wrong with a text that was refused.
#[cold]
fn mistake(json: &str) -> serde_json::Error {
    match serde_json::from_str::<&RawValue>(json) {
        Err(error) => error,
        Ok(_) => serde::de::Error::custom("an object key has half of a surrogate pair"),
    }
}

impl Node {
    /// Steps over the value at `at`, which is this node's.
    fn pick(
        &mut self,
        scan: &mut Scan<'_>,
        at: usize,
        places: &mut [Place],
    ) -> Result<usize, Broken> {
        let end = match scan.byte(at) {
            b'{' if !self.children.is_empty() => self.pick_members(scan, at + 1, places)?,
            b'[' if !self.children.is_empty() => self.pick_items(scan, at + 1, places)?,
            _ => scan.value(at)?,
        };
        if let Some(slot) = self.slot {
            places[slot] = Place { start: at, end };
        }
        Ok(end)
    }

    /// Steps over the rest of an object.
    fn pick_members(
        &mut self,
        scan: &mut Scan<'_>,
        at: usize,
        places: &mut [Place],
    ) -> Result<usize, Broken> {
        let mut at = scan.space(at);
        if scan.byte(at) == b'}' {
            return Ok(at + 1);
        }
        let mut before = None;
        loop {
            let guess = before.map_or(self.first, |before: usize| self.children[before].next);
            let (known, value) = self.key(scan, at, guess)?;
            at = match known {
                Some(this) => {
                    if this != guess {
                        match before {
                            None => self.first = this,
                            Some(before) => self.children[before].next = this,
                        }
                    }
                    before = Some(this);
                    let node = &mut self.children[this].node;
                    if !node.children.is_empty() {
                        node.forget(places);
                    }
                    node.pick(scan, value, places)?
                }
                None => scan.value(value)?,
            };
            at = scan.space(at);
            match scan.byte(at) {
                b',' => at = scan.space(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(Broken),
            }
        }
    }

    /// Reads the key at `at`: the child of that name, and where its value begins.
    #[inline(always)]
    fn key(
        &self,
        scan: &mut Scan<'_>,
        at: usize,
        guess: usize,
    ) -> Result<(Option<usize>, usize), Broken> {
        let written = &*self.children[guess].written;
        if !written.is_empty() && scan.holds(at, written) {
            return Ok((Some(guess), scan.space(at + written.len())));
        }
        let key = scan.expect(at, b'"')?;
        let outside = std::mem::take(&mut scan.escaped);
        let end = scan.string(key)?;
        let escaped = std::mem::replace(&mut scan.escaped, outside);
        let known = if escaped {
            scan.escaped = true;
            let key = serde_json::from_slice::<String>(&scan.text()[at..end]);
            self.child(key.map_err(|_| Broken)?.as_bytes())
        } else {
            self.child(&scan.text()[key..end - 1])
        };
        Ok((known, scan.colon(end)?))
    }

    fn child(&self, name: &[u8]) -> Option<usize> {
        self.children.iter().position(|child| child.name.as_bytes() == name)
    }

    /// Steps over the rest of a list.
    fn pick_items(
        &mut self,
        scan: &mut Scan<'_>,
        at: usize,
        places: &mut [Place],
    ) -> Result<usize, Broken> {
        let mut at = scan.space(at);
        if scan.byte(at) == b']' {
            return Ok(at + 1);
        }
        for index in 0.. {
            at = match self.children.iter_mut().find(|child| child.index == Some(index)) {
                Some(child) => child.node.pick(scan, at, places)?,
                None => scan.value(at)?,
            };
            at = scan.space(at);
            match scan.byte(at) {
                b',' => at = scan.space(at + 1),
                b']' => return Ok(at + 1),
                _ => break,
            }
        }
        Err(Broken)
    }

    /// Forgets what was found below: the node's key has come, perhaps again.
    fn forget(&self, places: &mut [Place]) {
        for Child { node, .. } in &self.children {
            if let Some(slot) = node.slot {
                places[slot] = NOWHERE;
            }
            if !node.children.is_empty() {
                node.forget(places);
            }
        }
    }
}

/// Where a value stands in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

const NOWHERE: Place = Place { start: usize::MAX, end: 0 };

/// Where the values of a [`Selector`]'s pointers stand; kept and reused between events.
#[derive(Debug, Default)]
pub(crate) struct Found {
    places: Vec<Place>,
    plain: bool,
    /// See [`Scan`].
    open: Vec<u8>,
}

impl Found {
    /// The raw text of a slot's value in the text that was picked from.
    pub(crate) fn get<'a>(&self, json: &'a str, slot: usize) -> Option<&'a str> {
        let place = self.places.get(slot)?;
        json.get(place.start..place.end)
    }

    /// Forgets what was found in a text that is not JSON.
    pub(crate) fn forget(&mut self) {
        self.places.clear();
        self.plain = false;
    }

    /// Whether no string in the text has an escape.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }
}
