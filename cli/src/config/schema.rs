//! The document's JSON Schema, made from its types: serde asks a format for what a type consists of, and here the
//! format is one that writes the questions down.
//!
//! A type asks on only when it gets an answer, so it is read again and again, each time one step further down. What
//! must be there and what a text must look like is not in a type's questions; `pilotctl config check` knows.

use std::cell::RefCell;

use domain::{Document, Service};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// Types within types; the document has five.
const DEPTH_MAX: usize = 12;

/// The whole schema.
pub(super) fn whole() -> Value {
    let mut schema = of::<Document>();
    for service in Service::ALL {
        let table = &mut schema["properties"][service.key()];
        *table = json!({
            "type": "object",
            "description": format!("What {service} is told; checked by `pilothouse {service} --check`."),
        });
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("pilothouse.toml");
    schema
}

fn of<T: for<'de> Deserialize<'de>>() -> Value {
    explore::<T>(&mut Vec::new())
}

/// What a type asks for at the end of a way down.
enum Found {
    Plain(Value),
    Record(&'static [&'static str]),
    List,
    Table,
}

fn explore<T: for<'de> Deserialize<'de>>(way: &mut Vec<usize>) -> Value {
    let found = RefCell::new(None);
    // It never gets a whole value; what it asked for is what counts.
    let ended = T::deserialize(Tracer { way: way.as_slice(), found: &found }).is_ok();
    if ended || way.len() > DEPTH_MAX {
        return json!({});
    }
    let mut below = |step| {
        way.push(step);
        let schema = explore::<T>(way);
        way.pop();
        schema
    };
    match found.into_inner() {
        None => json!({}),
        Some(Found::Plain(schema)) => schema,
        Some(Found::List) => json!({ "type": "array", "items": below(0) }),
        Some(Found::Table) => json!({ "type": "object", "additionalProperties": below(0) }),
        Some(Found::Record(fields)) => {
            let members = fields.iter().enumerate().map(|(step, name)| ((*name).to_owned(), below(step)));
            let members: Map<String, Value> = members.collect();
            json!({ "type": "object", "additionalProperties": false, "properties": members })
        }
    }
}

/// A format without a value: at the end of its way it writes down what it is asked for.
#[derive(Clone, Copy)]
struct Tracer<'a> {
    way: &'a [usize],
    found: &'a RefCell<Option<Found>>,
}

/// Why no value comes of it.
#[derive(Debug)]
struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no value")
    }
}

impl std::error::Error for Stop {}

impl Error for Stop {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'a> Tracer<'a> {
    /// Ends the way, or the step that leads on and the way after it.
    fn step(self, found: Found) -> Result<(usize, Self), Stop> {
        match self.way.split_first() {
            Some((step, way)) => Ok((*step, Tracer { way, found: self.found })),
            None => {
                *self.found.borrow_mut() = Some(found);
                Err(Stop)
            }
        }
    }
}

macro_rules! plain {
    ($($method:ident $schema:tt)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            self.step(Found::Plain(json!($schema)))?;
            Err(Stop)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    plain! {
        deserialize_any {}
        deserialize_ignored_any {}
        deserialize_bool { "type": "boolean" }
        deserialize_i8 { "type": "integer" }
        deserialize_i16 { "type": "integer" }
        deserialize_i32 { "type": "integer" }
        deserialize_i64 { "type": "integer" }
        deserialize_u8 { "type": "integer", "minimum": 0, "maximum": 255 }
        deserialize_u16 { "type": "integer", "minimum": 0, "maximum": 65535 }
        deserialize_u32 { "type": "integer", "minimum": 0 }
        deserialize_u64 { "type": "integer", "minimum": 0 }
        deserialize_f32 { "type": "number" }
        deserialize_f64 { "type": "number" }
        deserialize_char { "type": "string" }
        deserialize_str { "type": "string" }
        deserialize_string { "type": "string" }
        deserialize_identifier { "type": "string" }
        deserialize_bytes {}
        deserialize_byte_buf {}
        deserialize_unit {}
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let (_, tracer) = self.step(Found::List)?;
        visitor.visit_seq(One { name: "", tracer })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let (_, tracer) = self.step(Found::Table)?;
        visitor.visit_map(One { name: "name", tracer })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let (step, tracer) = self.step(Found::Record(fields))?;
        visitor.visit_map(One { name: fields.get(step).ok_or(Stop)?, tracer })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        self.step(Found::Plain(json!({ "enum": variants })))?;
        Err(Stop)
    }
}

/// The one member that a way leads to.
struct One<'a> {
    name: &'static str,
    tracer: Tracer<'a>,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        seed.deserialize(self.tracer).map(Some)
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        seed.deserialize(StrDeserializer::<Stop>::new(self.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(self.tracer)
    }
}

#[cfg(test)]
mod tests {
    use domain::Service;
    use serde_json::json;

    #[test]
    fn the_schema_is_that_of_the_types() {
        let schema = super::whole();
        let members = &schema["properties"];
        assert_eq!(members["version"], json!({ "type": "integer", "minimum": 0 }));
        assert_eq!(members["cluster"]["properties"]["name"], json!({ "type": "string" }));
        assert_eq!(members["cluster"]["additionalProperties"], false);
        let plane = &members["network"]["properties"]["planes"]["items"]["properties"];
        assert_eq!(plane["kind"], json!({ "enum": ["site", "nodes", "bmc"] }));
        assert_eq!(plane["addresses"]["type"], "array");
        assert_eq!(plane["shared"], json!({ "type": "boolean" }));
        assert_eq!(plane["subnets"]["items"]["properties"]["cidr"], json!({ "type": "string" }));
        let admin = &members["admins"]["additionalProperties"]["properties"];
        assert_eq!(admin["ssh_keys"], json!({ "type": "array", "items": { "type": "string" } }));
        for service in Service::ALL {
            assert_eq!(members[service.key()]["type"], "object", "{service}");
        }
    }
}
