//! Plain lines for CI and files: the run time, then one event each, and the state of affairs every five seconds.

use std::time::Duration;

use firedrill_core::time::RunTime;
use firedrill_engine::observe::{Progress, Tick};
use firedrill_reports::console::{Paint, Style};

use super::{Painter, words};

/// How often the state of affairs is said.
const EVERY: Duration = Duration::from_secs(5);

pub(super) struct Plain {
    style: Style,
    said: Option<RunTime>,
}

impl Plain {
    pub(super) fn new(style: Style) -> Self {
        Self { style, said: None }
    }

    fn line(&self, at: RunTime, paint: Paint, text: &str) -> String {
        format!("{:>9}  {}\n", at.to_string(), self.style.paint(paint, text))
    }
}

impl Painter for Plain {
    fn paint(&mut self, progress: &Progress) -> String {
        match progress {
            Progress::Started { .. } | Progress::Mechanisms(_) => {
                self.said = None;
                words::opening(progress, Paint::Plain, self.style)
            }
            Progress::Event(stamped) => match words::event(&stamped.event) {
                Some((paint, text)) => self.line(stamped.at, paint, &text),
                None => String::new(),
            },
            Progress::Tick(tick) => {
                let last = *self.said.get_or_insert(tick.at);
                if tick.at.since(last) < EVERY {
                    return String::new();
                }
                self.said = Some(tick.at);
                self.line(tick.at, Paint::Plain, &tick_words(tick))
            }
        }
    }

    fn finish(&mut self) -> String {
        String::new()
    }
}

/// `storm · 398 ok/s, 0 not · primary n1 · in force: kill`.
fn tick_words(tick: &Tick) -> String {
    let primary = tick.primary.as_deref().unwrap_or("none");
    let active = if tick.active.is_empty() { "none".to_owned() } else { tick.active.join(", ") };
    let phase = tick.phase.word();
    let (ok, bad) = (tick.ok_per_second, tick.bad_per_second);
    format!("{phase} · {ok:.0} ok/s, {bad:.0} not · primary {primary} · faults in force: {active}")
}
