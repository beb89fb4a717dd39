//! A journey on a screen: a list of stops on the left, one of them on the right. Drawing and keys are
//! pure; `terminal.rs` has the terminal.

use super::journey::{Asked, Journey, Stop};
use crate::text;
use everstep_core::api::OperationView;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, List, ListItem, ListState, Paragraph, Wrap};

/// How much of a value is shown.
const VALUE: usize = 400;
/// The longest text that is typed.
const MAX_TYPED: usize = 100;

/// What the traveller sees and types.
pub(super) struct Screen {
    journey: Journey,
    /// The stop that is shown.
    at: usize,
    /// How far the right side is scrolled.
    scroll: u16,
    typing: Option<(Typing, String)>,
    /// What was searched for last.
    words: String,
    note: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Typing {
    Position,
    Words,
}

impl Screen {
    pub(super) fn new(journey: Journey) -> Self {
        let note = journey.ending.clone().unwrap_or_default();
        let words = String::new();
        Self { journey, at: 0, scroll: 0, typing: None, words, note }
    }

    /// Takes a key. False when it is time to leave.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return false;
        }
        if self.typing.is_some() {
            self.type_key(key.code);
            return true;
        }
        self.note.clear();
        let last = self.journey.stops.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Right | KeyCode::Char('l') => self.go(self.at + 1),
            KeyCode::Left | KeyCode::Char('h') => self.go(self.at.saturating_sub(1)),
            KeyCode::Home => self.go(0),
            KeyCode::End => self.go(last),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Char('g') => self.typing = Some((Typing::Position, String::new())),
            KeyCode::Char('/') => self.typing = Some((Typing::Words, String::new())),
            KeyCode::Char('n') => self.search(),
            _ => {}
        }
        true
    }

    fn type_key(&mut self, key: KeyCode) {
        let Some((typing, typed)) = &mut self.typing else { return };
        match key {
            KeyCode::Char(c) if typed.len() < MAX_TYPED => typed.push(c),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Esc => self.typing = None,
            KeyCode::Enter => {
                let (typing, typed) = (*typing, std::mem::take(typed));
                self.typing = None;
                match (typing, typed.parse()) {
                    (Typing::Position, Ok(seq)) => self.go(self.journey.at_position(seq)),
                    (Typing::Position, Err(_)) => self.note = format!("`{typed}` is no position"),
                    (Typing::Words, _) => {
                        self.words = typed;
                        self.search();
                    }
                }
            }
            _ => {}
        }
    }

    fn go(&mut self, stop: usize) {
        self.at = stop.min(self.journey.stops.len().saturating_sub(1));
        self.scroll = 0;
    }

    fn search(&mut self) {
        match self.journey.find(&self.words, self.at) {
            Some(stop) if !self.words.is_empty() => self.go(stop),
            _ => self.note = format!("`{}` is nowhere", self.words),
        }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [body, foot] =
            Layout::vertical([Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(35), Constraint::Percentage(65)])
                .areas(body);
        let items = self.journey.stops.iter().map(|stop| ListItem::new(head(stop)));
        let title = text::one_line(&format!("{} {}", self.journey.workflow, self.journey.run), 80);
        let list = List::new(items)
            .block(Block::bordered().title(title))
            .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut shown = ListState::default().with_selected(Some(self.at));
        frame.render_stateful_widget(list, left, &mut shown);
        if let Some(stop) = self.journey.stops.get(self.at) {
            let title = format!("{} of {}", self.at + 1, self.journey.stops.len());
            let lines: Vec<Line<'_>> = details(stop).into_iter().map(Line::from).collect();
            let page = Paragraph::new(lines)
                .block(Block::bordered().title(title))
                .wrap(Wrap { trim: false })
                .scroll((self.scroll, 0));
            frame.render_widget(page, right);
        }
        let foot_line = match &self.typing {
            Some((Typing::Position, typed)) => format!("journal position: {typed}"),
            Some((Typing::Words, typed)) => format!("/{typed}"),
            None if !self.note.is_empty() => text::one_line(&self.note, 200),
            None => "←/h back  →/l on  Home  End  ↑↓ scroll  g position  / search  n next  q quit"
                .into(),
        };
        frame.render_widget(Paragraph::new(foot_line), foot);
    }
}

/// A stop in the list.
pub(super) fn head(stop: &Stop) -> String {
    let op = format!("{:>5}  {} {}", stop.seq, stop.what, stop.name);
    text::one_line(op.trim_end(), 120)
}

/// A stop in full.
pub(super) fn details(stop: &Stop) -> Vec<String> {
    let value = |value: &Option<serde_json::Value>| {
        value.as_ref().map(|it| text::one_line(&it.to_string(), VALUE)).unwrap_or_default()
    };
    let mut lines = vec![
        text::one_line(format!("{} {}", stop.what, stop.name).trim_end(), VALUE),
        format!("at {}, attempt {}, journal position {}", stop.at, stop.attempt, stop.seq),
    ];
    if stop.value.is_some() {
        lines.push(format!("  {}", value(&stop.value)));
    }
    let mut section = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(rows.into_iter().map(|row| format!("  {row}")));
        }
    };
    let command = |asked: &Asked| {
        let Asked { seq, kind, name, backtrace, .. } = asked;
        let head = format!("{seq}  {kind} {name} {}", value(&asked.value));
        let frames = backtrace.iter().map(|frame| format!("    {}", text::one_line(frame, VALUE)));
        let head = text::one_line(head.trim_end(), VALUE);
        std::iter::once(head).chain(frames).collect::<Vec<_>>()
    };
    section("asks for", stop.commands.iter().flat_map(command).collect());
    let log = |line: &everstep_core::LogLine| {
        let level = format!("{:?}", line.level).to_lowercase();
        text::one_line(&format!("{level} {}", line.message), VALUE)
    };
    section("logs", stop.logs.iter().map(log).collect());
    let shows = stop.published.iter().map(|it| text::one_line(it.as_str(), VALUE));
    section("shows", shows.collect());
    let behind = stop.behind.iter().map(|it| format!("{}  {} at {}", it.seq, it.event, it.at));
    section("behind it", behind.collect());
    let mut pending: Vec<_> = stop.pending.iter().map(pending_line).collect();
    let more = stop.pending_count.saturating_sub(pending.len() as u64);
    pending.extend((more > 0).then(|| format!("… and {more} more")));
    section(&format!("{}, pending", stop.state.as_str()), pending);
    lines
}

fn pending_line(operation: &OperationView) -> String {
    let OperationView { op, kind, name, due, .. } = operation;
    let due = due.map(|due| format!(", due {due}")).unwrap_or_default();
    text::one_line(&format!("#{op} {kind} {name}{due}"), VALUE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::journey::tests::journey;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 24)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, keys: &str) -> bool {
        keys.chars().all(|key| {
            let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
            screen.press(KeyEvent::new(code, KeyModifiers::NONE))
        })
    }

    #[test]
    fn a_stop_is_drawn_with_everything_about_it() {
        let mut screen = Screen::new(journey());
        assert!(press(&mut screen, "l"));
        insta::assert_snapshot!(drawn(&screen));
    }

    #[test]
    fn keys_lead_through_the_journey() {
        let mut screen = Screen::new(journey());
        let last = screen.journey.stops.len() - 1;
        for (keys, at) in [
            ("", 0),
            ("h", 0),
            ("ll", 2),
            ("h", 1),
            ("lllllllllll", last),
            ("g3\n", 1),
            ("gx\n", 1),
            ("/asking for\n", 1),
            ("g0\n/asking for\n", 1),
            ("/nowhere\n", 1),
        ] {
            assert!(press(&mut screen, keys), "{keys}");
            assert_eq!(screen.at, at, "{keys}");
        }
        assert_eq!(screen.note, "`nowhere` is nowhere");
        // What is typed is no command.
        assert!(press(&mut screen, "/q"));
        assert!(drawn(&screen).contains("/q"));
        assert!(screen.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!press(&mut screen, "q"));
        for code in [KeyCode::End, KeyCode::Home, KeyCode::PageDown, KeyCode::Up] {
            assert!(screen.press(KeyEvent::new(code, KeyModifiers::NONE)));
        }
        assert_eq!((screen.at, screen.scroll), (0, 9));
        assert!(!screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}
