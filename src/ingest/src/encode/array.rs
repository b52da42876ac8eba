//! JSON arrays into PostgreSQL's, of one dimension.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::target::Target;
use super::{Json, Misfit};

/// The binary form of an array (`array_send`): dimensions, whether there are nulls, the items'
/// type, their number and the lower bound, then the items. An empty array has no dimension.
pub(super) fn put(
    out: &mut Vec<u8>,
    value: Json<'_>,
    element: u32,
    items: &Target,
) -> Result<(), Misfit> {
    if !value.text.starts_with('[') {
        return Err(Misfit::Type { needed: "an array" });
    }
    let start = out.len();
    let word = |out: &mut Vec<u8>, word: i32| out.extend_from_slice(&word.to_be_bytes());
    word(out, 0);
    word(out, 1);
    word(out, 0);
    out.extend_from_slice(&element.to_be_bytes());
    word(out, 0);
    word(out, 1);
    let head = out.len();
    let mut put = Put { out, items, plain: value.plain, count: 0, nulls: false, misfit: None };
    let read = serde_json::Deserializer::from_str(value.text).deserialize_seq(&mut put);
    let Put { count, nulls, misfit, .. } = put;
    let misfit = misfit.or(read.err().map(|_| Misfit::Type { needed: "an array" }));
    let len = i32::try_from(out.len() - start - 4).map_err(|_| Misfit::Range { why: "over 2 GiB" });
    if let Err(misfit) = misfit.map_or(len.map(|_| ()), Err) {
        out.truncate(start);
        return Err(misfit);
    }
    if count == 0 {
        out[start + 4..start + 8].fill(0);
        out.truncate(head - 8);
    }
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    if count > 0 {
        out[start + 8..start + 12].copy_from_slice(&i32::from(nulls).to_be_bytes());
        out[start + 16..start + 20].copy_from_slice(&count.to_be_bytes());
    }
    Ok(())
}

/// Puts one item after the other.
struct Put<'a> {
    out: &'a mut Vec<u8>,
    items: &'a Target,
    plain: bool,
    count: i32,
    nulls: bool,
    misfit: Option<Misfit>,
}

impl<'de> Visitor<'de> for &mut Put<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if self.misfit.is_some() {
                continue;
            }
            let start = self.out.len();
            let json = Json { text: item.get(), plain: self.plain };
            if let Err(misfit) = self.items.put_json(self.out, json) {
                self.misfit = Some(match misfit {
                    Misfit::Type { needed } => Misfit::Item { needed },
                    other => other,
                });
            }
            self.nulls |= self.out.get(start..start + 4) == Some(&(-1i32).to_be_bytes()[..]);
            self.count += 1;
        }
        Ok(())
    }
}
