//! The terminal while somebody travels: taken over at the beginning, given back at the end, whatever
//! the end is.

use super::drawing::Screen;
use crate::exit::Failure;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

/// Lets the traveller look around until they leave.
pub(super) fn show(mut screen: Screen) -> Result<(), Failure> {
    // A panic gives the terminal back, too.
    let mut terminal = ratatui::try_init().map_err(|error| broken(&error))?;
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(broken(&error));
        }
        match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                if !screen.press(key) {
                    break Ok(());
                }
            }
            Ok(_) => {}
            Err(error) => break Err(broken(&error)),
        }
    };
    ratatui::restore();
    ended
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new("travel.terminal", format!("the terminal cannot be used: {error}"))
        .fix("pipe the output to get all steps as text, or say --json")
}
