//! Structured log lines of a run, for workflows and tasks.

use crate::host::logger::{Level, log};
use serde::Serialize;
use serde_json::{Map, Value};

/// Writes log lines; see [`Run::logger`](crate::Run::logger).
#[derive(Debug, Clone, Copy)]
pub struct Logger(());

/// The fields of a log line; made by [`fields!`](crate::fields!).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These fields and one more. A value that has no JSON form is replaced by the reason why.
    #[must_use]
    pub fn with<V: Serialize + ?Sized>(mut self, name: impl Into<String>, value: &V) -> Self {
        let value =
            serde_json::to_value(value).unwrap_or_else(|error| Value::String(error.to_string()));
        self.0.insert(name.into(), value);
        self
    }
}

/// The fields of a log line: `fields!["email" => &input.email, "attempt" => 3]`. Values are
/// anything that serde can serialize.
#[macro_export]
macro_rules! fields {
    ($($name:expr => $value:expr),* $(,)?) => {
        $crate::Fields::new()$(.with($name, &$value))*
    };
    ($($other:tt)*) => {
        ::core::compile_error!("write fields as `fields![\"name\" => value, \"other\" => value]`")
    };
}

macro_rules! levels {
    ($($method:ident $level:ident),*) => {
        impl Logger {
            pub(crate) fn new() -> Self {
                Self(())
            }

            $(
                #[doc = concat!("Writes a line of level `", stringify!($method), "`.")]
                pub fn $method(&self, message: impl AsRef<str>, fields: Fields) {
                    let fields = if fields.0.is_empty() {
                        Vec::new()
                    } else {
                        Value::Object(fields.0).to_string().into_bytes()
                    };
                    log(Level::$level, message.as_ref(), &fields);
                }
            )*
        }
    };
}

levels!(trace Trace, debug Debug, info Info, warn Warn, error Error);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::recorded;

    #[test]
    fn lines_reach_the_host() {
        let logger = Logger::new();
        logger.info("plain", fields![]);
        logger.warn("full", fields!["b" => 1, "a" => "x"]);
        let expected = [r"log Level::Info plain ", r#"log Level::Warn full {"a":"x","b":1}"#];
        assert_eq!(recorded::calls(), expected);
    }
}
