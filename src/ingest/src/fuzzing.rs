//! A door for the fuzz targets, the test over their corpora and the benches: plain values in,
//! encoded bytes out. No promise to anybody else.

use bytes::BufMut;

use crate::batch::RouteRows;
use crate::catalog::{self, Catalog, Route, Source};
use crate::decode::{Decoder, Incoming};
use crate::encode::{Kind, copy};
use crate::preset::{Mode, Preset};

/// A mapped column, without a database to ask.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// A JSON pointer or one of `$id`, `$epoch`, `$event`, `$data`.
    pub source: &'static str,
    /// Object id of the column's type.
    pub oid: u32,
    /// Type modifier, -1 for none.
    pub modifier: i32,
    pub required: bool,
}

/// A decoder over fixed routes, with the rows it has made.
pub struct Bench {
    decoder: Decoder,
    rows: Vec<RouteRows>,
}

impl Bench {
    /// Routes are pairs of an event type (or `*`) and columns, the first of which is the key.
    ///
    /// # Panics
    /// Where a type has no conversion.
    pub fn new(routes: &[(&str, &[Column])]) -> Self {
        Self::split_by(None, routes)
    }

    /// As [`Bench::new`], with a pointer to the value that events are split by.
    ///
    /// # Panics
    /// Where a type has no conversion.
    pub fn split_by(split: Option<&str>, routes: &[(&str, &[Column])]) -> Self {
        let routes = routes.iter().map(|(event, columns)| {
            let columns = columns.iter();
            route(event, columns.map(|column| bind_text(*column)).collect(), 1)
        });
        Self::over(split, routes.collect())
    }

    /// The routes of a preset, its columns bound to the types that `type_of` gives for their names
    /// (as [`Column::oid`] and [`Column::modifier`]); keys are required.
    ///
    /// # Panics
    /// Where the preset is not valid or a type has no conversion.
    pub fn of_preset(toml: &str, type_of: fn(&str) -> (u32, i32)) -> Self {
        let preset = Preset::parse(toml).expect("a valid preset");
        let routes = preset.routes.iter().map(|spec| {
            let rest = spec.columns.keys().filter(|name| !spec.key.contains(name));
            let columns = spec.key.iter().chain(rest).enumerate().map(|(place, name)| {
                let (oid, modifier) = type_of(name);
                let required = place < spec.key.len();
                bind(
                    spec.columns[name].source.clone(),
                    name,
                    Column { source: "", oid, modifier, required },
                )
            });
            route(&spec.event, columns.collect(), spec.key.len())
        });
        Self::over(preset.stream.split.as_deref(), routes.collect())
    }

    fn over(split: Option<&str>, routes: Vec<Route>) -> Self {
        let rows = routes.iter().map(|_| RouteRows::default()).collect();
        Self { decoder: Decoder::new(&Catalog { routes, envelope: Vec::new() }, split), rows }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        for rows in &mut self.rows {
            rows.bytes.clear();
            rows.rows.clear();
        }
    }

    /// The JSON text of the value that an event is split by.
    ///
    /// # Errors
    /// Code and text of the reason for a dead letter.
    pub fn split<'a>(
        &'a mut self,
        event_type: &str,
        data: &'a str,
    ) -> Result<Option<&'a str>, (&'static str, String)> {
        let read = self.decoder.read(event_type, data);
        read.map(|read| read.split()).map_err(|reason| (reason.code, reason.text))
    }

    /// Decodes one event; code and text of the reason where it cannot land.
    ///
    /// # Errors
    /// The reason for a dead letter.
    pub fn decode(
        &mut self,
        event: usize,
        id: i64,
        event_type: &str,
        data: &str,
    ) -> Result<(), (&'static str, String)> {
        let received_at = jiff::Timestamp::UNIX_EPOCH;
        let incoming = Incoming { id, sse_id: "", event_type, data, epoch: "one", received_at };
        self.decoder
            .decode(&incoming, event, &mut self.rows)
            .map_err(|reason| (reason.code, reason.text))
    }

    /// The event and the encoded fields of each row of a route.
    pub fn rows(&self, route: usize) -> Vec<(u32, &[u8])> {
        let rows = &self.rows[route];
        rows.rows.iter().map(|row| (row.event, rows.fields(row))).collect()
    }

    /// All that was encoded for a route, rows or not.
    pub fn bytes(&self, route: usize) -> &[u8] {
        &self.rows[route].bytes
    }
}

fn route(event: &str, columns: Vec<catalog::Column>, key_len: usize) -> Route {
    Route {
        event: event.to_owned(),
        table: "fuzz.target".into(),
        mode: Mode::Insert,
        columns,
        key_len,
        parent: None,
        checks: Vec::new(),
        takes_copy: true,
        drift: catalog::Drift::default(),
    }
}

fn bind_text(column: Column) -> catalog::Column {
    let source = match column.source {
        "$id" => Source::Id,
        "$epoch" => Source::Epoch,
        "$event" => Source::Event,
        "$data" => Source::Data,
        pointer => Source::Pointer(pointer.to_owned()),
    };
    bind(source, column.source.trim_start_matches(['/', '$']), column)
}

fn bind(source: Source, name: &str, column: Column) -> catalog::Column {
    catalog::Column {
        name: name.to_owned(),
        source,
        target: Kind::of(column.oid, column.modifier).expect("a type with a conversion").into(),
        sql_type: format!("type {}", column.oid),
        required: column.required,
        may_wait: false,
    }
}

/// A value for [`encode`].
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The text of one JSON value.
    Json(&'a str),
    /// Text that is not JSON.
    Text(&'a str),
    Integer(i64),
    /// A point in time in nanoseconds since 1970.
    Time(i128),
}

/// One COPY field for a column of this type; `None` where the value does not fit, and then nothing
/// was written.
///
/// # Panics
/// Where the type has no conversion, or where a refused value left bytes behind.
pub fn encode(oid: u32, modifier: i32, input: Input<'_>) -> Option<Vec<u8>> {
    let kind = Kind::of(oid, modifier).expect("a type with a conversion");
    let mut out = b"before".to_vec();
    let result = match input {
        Input::Json(json) => kind.put_json(&mut out, json),
        Input::Text(text) => kind.put_text(&mut out, text),
        Input::Integer(value) => kind.put_integer(&mut out, value),
        Input::Time(nanos) => {
            kind.put_time(&mut out, jiff::Timestamp::from_nanosecond(nanos).ok()?)
        }
    };
    let field = out.split_off(6);
    assert_eq!(out, b"before");
    match result {
        Ok(()) => Some(field),
        Err(misfit) => {
            assert!(field.is_empty(), "{misfit:?} left {} bytes behind", field.len());
            None
        }
    }
}

/// A whole COPY stream of rows: the event each belongs to, and its other fields.
pub fn copy_stream(rows: &[(u32, &[u8])], fields: i16) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    copy::begin(&mut out);
    for (event, row) in rows {
        copy::begin_row(&mut out, 1 + fields);
        out.put_i32(4);
        out.put_u32(*event);
        out.extend_from_slice(row);
    }
    copy::end(&mut out);
    out.to_vec()
}
