//! Writes warnings and errors to standard error.
//!
//! It brings no crate of its own to the examples. Other programs use `tracing-subscriber`.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Has warnings and errors of the whole program written to standard error, one a line.
pub fn log_errors() {
    // This fails only if there is a subscriber already.
    drop(tracing::subscriber::set_global_default(Stderr));
}

struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        eprintln!("{level} {target}: {}{}", fields.message, fields.others);
    }

    // There are no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.others.push_str(&format!(" {name}={value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_comes_before_the_fields() {
        struct Kept(std::sync::Mutex<Vec<String>>);
        impl Subscriber for &'static Kept {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                Stderr.enabled(metadata)
            }

            fn event(&self, event: &Event<'_>) {
                let mut fields = Fields::default();
                event.record(&mut fields);
                let mut kept = self.0.lock().unwrap_or_else(|error| error.into_inner());
                kept.push(fields.message + &fields.others);
            }

            fn new_span(&self, span: &Attributes<'_>) -> Id {
                Stderr.new_span(span)
            }

            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        static KEPT: Kept = Kept(std::sync::Mutex::new(Vec::new()));
        tracing::subscriber::with_default(&KEPT, || {
            tracing::error!(upload = "a", status = 500, "it failed");
            tracing::info!("it is well");
        });
        let kept = KEPT.0.lock().unwrap_or_else(|error| error.into_inner());
        assert_eq!(*kept, ["it failed upload=\"a\" status=500"]);
    }
}
