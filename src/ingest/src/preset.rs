//! Presets: which event goes into which table, as data. Checked here for sense within itself and
//! in `catalog` against the real tables.

mod column;
mod route;
mod stream;

use serde::Deserialize;

use crate::error::Error;

pub use stream::{Offsets, ResumeClass};

pub(crate) use column::{ColumnSpec, Form, Source};
pub(crate) use route::{Missing, Mistyped, Mode, NewFields, RouteSpec, split_table};
pub(crate) use stream::{Ids, PagesSpec, Reconnect, Scalar, StreamSpec, TimeFormat};

/// One feed: the stream's conventions and its routes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    pub stream: StreamSpec,
    #[serde(rename = "route", default)]
    pub routes: Vec<RouteSpec>,
}

impl Preset {
    /// Reads a preset from TOML text. Unknown keys, unknown modes and routes that contradict
    /// themselves are `Config` errors that name the route.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let preset: Self = toml::from_str(text)
            .map_err(|error| Error::config(format!("preset is not valid: {}", one_line(&error))))?;
        preset.check()?;
        Ok(preset)
    }

    fn check(&self) -> Result<(), Error> {
        self.stream.check()?;
        for route in &self.routes {
            route.check().map_err(|problem| {
                Error::config(format!(
                    "preset {:?}, route {:?} to {:?}: {problem}",
                    self.stream.name, route.event, route.table
                ))
            })?;
        }
        Ok(())
    }
}

fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [stream]
        name = "s"
        [[route]]
        event = "a"
        table = "x.t"
        mode = "insert"
        key = ["id"]
        columns = { id = "/id", at = "$received_at" }
    "#;

    fn message(text: &str) -> String {
        Preset::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_preset_gets_the_defaults() {
        let preset = Preset::parse(GOOD).unwrap();
        assert_eq!(preset.stream.id, "sse");
        assert_eq!(preset.stream.offsets, Offsets::Sparse);
        assert_eq!(preset.routes[0].mode, Mode::Insert);
    }

    #[test]
    fn mistakes_name_the_route_and_the_cause() {
        for (from, to, part) in [
            ("name = \"s\"", "name = \"s\"\nnmae = 1", "nmae"),
            ("mode = \"insert\"", "mode = \"merge\"", "merge"),
            ("x.t", "t", "schema.table"),
            ("key = [\"id\"]", "", "key is missing"),
            ("key = [\"id\"]", "key = [\"no\"]", "\"no\""),
            ("mode = \"insert\"", "mode = \"append\"", "append takes no key"),
            ("\"/id\"", "\"id\"", "JSON pointer"),
            ("$received_at", "$now", "$now"),
        ] {
            let text = GOOD.replace(from, to);
            assert!(message(&text).contains(part), "{part}: {}", message(&text));
        }
    }
}
