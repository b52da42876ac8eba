//! Picks the values that routes name out of JSON text in one pass, without building a tree.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A set of JSON pointers (RFC 6901), compiled. Equal pointers share a slot.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    root: Node,
    slots: usize,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(Box<str>, Node)>,
    /// The node's place, where its name can be one in a list.
    index: Option<usize>,
}

impl Selector {
    /// Adds a pointer and returns its slot.
    pub(crate) fn add(&mut self, pointer: &str) -> usize {
        let mut node = &mut self.root;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let at = match node.children.iter().position(|(name, _)| **name == *token) {
                Some(at) => at,
                None => {
                    let index = token.parse().ok().filter(|n: &usize| n.to_string() == token);
                    node.children.push((token.into(), Node { index, ..Node::default() }));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        *node.slot.get_or_insert_with(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// Fills `found` with the place of each pointer's value in `json`, `None` where there is none;
    /// of equal keys the last counts. The whole text is checked to be one JSON value.
    pub(crate) fn pick(&self, json: &str, found: &mut Found) -> Result<(), serde_json::Error> {
        // The common way reads scalars that stand where an object was hoped for, and stumbles
        // over valid ones such as 1e999; the careful way steps over them and costs more.
        self.walk(json, found, false).or_else(|_| self.walk(json, found, true))
    }

    fn walk(&self, json: &str, found: &mut Found, careful: bool) -> Result<(), serde_json::Error> {
        found.0.clear();
        found.0.resize(self.slots, None);
        let mut reader = serde_json::Deserializer::from_str(json);
        let base = json.as_ptr() as usize;
        Pick { node: &self.root, base, careful, found }.deserialize(&mut reader)?;
        reader.end()
    }
}

impl Node {
    /// Forgets what was found below: the node's key has come again.
    fn forget(&self, found: &mut Found) {
        for (_, node) in &self.children {
            if let Some(slot) = node.slot {
                found.0[slot] = None;
            }
            node.forget(found);
        }
    }
}

/// Where the values of a [`Selector`]'s pointers stand; kept and reused between events.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Option<Range<usize>>>);

impl Found {
    /// The raw text of a slot's value in the text that was picked from.
    pub(crate) fn get<'a>(&self, json: &'a str, slot: usize) -> Option<&'a str> {
        json.get(self.0.get(slot)?.clone()?)
    }
}

struct Pick<'n, 'f> {
    node: &'n Node,
    /// Address of the text's first byte, to turn borrowed values into places.
    base: usize,
    careful: bool,
    found: &'f mut Found,
}

impl<'n> Pick<'n, '_> {
    fn reborrow(&mut self) -> Pick<'n, '_> {
        Pick { found: self.found, ..*self }
    }
}

impl<'a> DeserializeSeed<'a> for Pick<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        if self.node.slot.is_none() && !self.careful {
            return reader.deserialize_any(self);
        }
        let raw = <&'a RawValue as serde::Deserialize>::deserialize(reader)?.get();
        if let Some(slot) = self.node.slot {
            let start = raw.as_ptr() as usize - self.base;
            self.found.0[slot] = Some(start..start + raw.len());
        }
        if self.node.children.is_empty() || !raw.starts_with(['{', '[']) {
            return Ok(());
        }
        // Both the value and something inside it are wanted: the inside is read again.
        let mut reader = serde_json::Deserializer::from_str(raw);
        serde::Deserializer::deserialize_any(&mut reader, self).map_err(D::Error::custom)
    }
}

impl<'a> Visitor<'a> for Pick<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'a>>()? {
            match self.node.children.iter().find(|(name, _)| **name == *key) {
                Some((_, node)) => {
                    node.forget(self.found);
                    map.next_value_seed(Pick { node, ..self.reborrow() })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for index in 0usize.. {
            let wanted = self.node.children.iter().find(|(_, node)| node.index == Some(index));
            let more = match wanted {
                Some((_, node)) => {
                    seq.next_element_seed(Pick { node, ..self.reborrow() })?.is_some()
                }
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// An object key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Key<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(reader: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'a> Visitor<'a> for KeyVisitor {
            type Value = Key<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object key")
            }

            fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        reader.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pick<'a>(
        pointers: &[&str],
        json: &'a str,
    ) -> Result<Vec<Option<&'a str>>, serde_json::Error> {
        let mut selector = Selector::default();
        let slots: Vec<usize> = pointers.iter().map(|p| selector.add(p)).collect();
        let mut found = Found::default();
        selector.pick(json, &mut found)?;
        Ok(slots.into_iter().map(|slot| found.get(json, slot)).collect())
    }

    #[test]
    fn values_are_found_at_any_depth_and_inside_a_wanted_value() {
        let json = r#"{"a":{"b":[10,{"c":"x"}],"d":null},"e/f":1,"é":2}"#;
        let found =
            pick(&["/a", "/a/b/1/c", "/a/d", "/a/no", "/e~1f", "/\u{e9}", ""], json).unwrap();
        assert_eq!(found[0], Some(r#"{"b":[10,{"c":"x"}],"d":null}"#));
        assert_eq!(found[1], Some("\"x\""));
        assert_eq!(found[2], Some("null"));
        assert_eq!(found[3], None);
        assert_eq!(found[4], Some("1"));
        assert_eq!(found[5], Some("2"));
        assert_eq!(found[6], Some(json));
    }

    #[test]
    fn broken_json_is_an_error_wherever_it_breaks() {
        for json in ["", "{", r#"{"a":1"#, r#"{"a":1}x"#, r#"{"a":tru}"#, "{\"b\":\"\u{1}\"}"] {
            assert!(pick(&["/a"], json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_tree(value in json_value(), depth in 0usize..3) {
            let json = serde_json::to_string(&value).unwrap();
            let pointer = ["/a", "/b/a", "/0/b/1"][depth];
            let found = pick(&[pointer, ""], &json).unwrap();
            let by_tree = value.pointer(pointer).cloned();
            let by_pick = found[0].map(|raw| serde_json::from_str::<serde_json::Value>(raw).unwrap());
            prop_assert_eq!(by_pick, by_tree);
        }
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-z\"\\\\]{0,4}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                proptest::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
