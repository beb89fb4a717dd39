//! The only place that writes to the terminal. Data goes to stdout, everything else to stderr, so
//! that `--json` output can be piped. Colours and progress bars appear on a terminal only.

use crate::exit::{Failure, Report};
use crate::text;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Style};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Where and how to print. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    /// For stdout.
    pub(crate) paint: Paint,
    errors: Paint,
    bars: MultiProgress,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let bars = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            json,
            paint: Paint::new(io::stdout().is_terminal()),
            errors: Paint::new(io::stderr().is_terminal()),
            bars: MultiProgress::with_draw_target(bars),
        }
    }

    /// Whether `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody watches stderr.
    pub(crate) fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Whether stderr takes colours.
    pub(crate) fn has_colour(&self) -> bool {
        self.errors.enabled
    }

    /// Writes lines to stdout.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.bars.suspend(|| written(writeln!(io::stdout().lock(), "{line}")))
    }

    /// Writes a value to stdout, as JSON: indented for people who read it on a terminal, otherwise
    /// on one line.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text.map_err(|e| Failure::new("output.stdout", e.to_string()))?)
    }

    /// Writes one of many values to stdout, always on one line.
    pub(crate) fn row(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value);
        self.line(&text.map_err(|e| Failure::new("output.stdout", e.to_string()))?)
    }

    /// Writes bytes to stdout.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        written(io::stdout().lock().write_all(bytes))
    }

    /// Writes a line to stderr.
    pub(crate) fn note(&self, line: &str) {
        self.bars.suspend(|| {
            // There is nowhere to complain to when stderr is closed.
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }

    /// Writes a failure to stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Some(Report { code, detail, fix }) = &failure.report else { return };
        let head = self.errors.bad(&format!("error[{code}]:"));
        self.note(&format!("{head} {}", text::lines(detail)));
        if let Some(fix) = fix {
            self.note(&format!("{} {}", self.errors.good("fix:"), text::lines(fix)));
        }
    }

    /// A spinner on stderr; invisible when nobody watches. Gone when it is dropped.
    pub(crate) fn spinner(&self, message: String) -> Progress {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    /// A bar on stderr that counts bytes.
    pub(crate) fn byte_bar(&self, message: String, total: u64) -> Progress {
        let bar = self.bars.add(ProgressBar::new(total));
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(message);
        Progress(bar)
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::new("output.stdout", format!("cannot write to stdout: {error}")),
    })
}

/// A progress bar that vanishes with its owner, also when that owner fails.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn say(&self, message: String) {
        self.0.set_message(message);
    }

    /// A way to move the bar from elsewhere.
    pub(crate) fn position(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |position| bar.set_position(position)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    enabled: bool,
}

impl Paint {
    fn new(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { enabled: is_terminal && !refused }
    }

    /// No colours at all, for tests.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { enabled: false }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.styled(text, Style::new().green())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.styled(text, Style::new().red().bold())
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.styled(text, Style::new().yellow())
    }

    pub(crate) fn name(self, text: &str) -> String {
        self.styled(text, Style::new().bold())
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.styled(text, Style::new().dimmed())
    }

    fn styled(self, text: &str, style: Style) -> String {
        if self.enabled { text.style(style).to_string() } else { text.to_owned() }
    }
}
