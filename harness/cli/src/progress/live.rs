//! The live block of a terminal: five lines redrawn in place below the permanent ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use firedrill_core::event::Event;
use firedrill_core::time::RunTime;
use firedrill_core::units::human;
use firedrill_engine::observe::{Progress, Tick};
use firedrill_reports::console::Paint;

use super::{Painter, words};
use crate::terminal::Terminal;

/// Cells of the timeline.
const BAR: usize = 50;

pub(super) struct Live {
    terminal: Terminal,
    /// Lines of the block now on the screen.
    drawn: usize,
    run: String,
    tick: Option<Tick>,
    /// When each fault was in force, by id.
    spans: BTreeMap<String, Vec<(RunTime, Option<RunTime>)>>,
}

impl Live {
    pub(super) fn new(terminal: Terminal) -> Self {
        Self { terminal, drawn: 0, run: String::new(), tick: None, spans: BTreeMap::new() }
    }

    /// Moves to the first line of the block and clears to the end of the screen.
    fn erase(&mut self) -> String {
        let up = std::mem::take(&mut self.drawn);
        if up == 0 { String::new() } else { format!("\u{1b}[{up}A\r\u{1b}[J") }
    }

    fn redraw(&mut self, permanent: &str) -> String {
        let mut out = self.erase();
        out.push_str(permanent);
        let block = self.block();
        self.drawn = block.len();
        for (paint, line) in block {
            // One character less than the width: some terminals wrap when the last column is written.
            let cut: String = line.chars().take(self.terminal.width - 1).collect();
            // Writing to a string cannot fail.
            let _written = writeln!(out, "{}", self.terminal.style.paint(paint, &cut));
        }
        out
    }

    fn block(&self) -> Vec<(Paint, String)> {
        let Some(tick) = &self.tick else { return Vec::new() };
        let planned = tick
            .storm
            .map(|(from, to)| format!("  {} of {}", human(whole(tick.at.since(from))), human(whole(to.since(from)))));
        let (ok, bad) = (tick.ok_per_second, tick.bad_per_second);
        let calm = tick.active.is_empty();
        let active = if calm { "none".to_owned() } else { tick.active.join(", ") };
        vec![
            (Paint::Bold, format!("{}{}  {}", tick.phase.word(), planned.unwrap_or_default(), self.run)),
            (Paint::Plain, format!("  {}  {}", self.bar(tick), tick.at)),
            (if calm { Paint::Plain } else { Paint::Doubt }, format!("  faults   {active}")),
            (Paint::Plain, format!("  load     {ok:.0} acknowledged/s, {bad:.0} failed or unknown/s")),
            (
                if tick.primary.is_some() { Paint::Plain } else { Paint::Bad },
                format!("  primary  {}  ({})", tick.primary.as_deref().unwrap_or("none"), tick.cluster),
            ),
        ]
    }

    /// The timeline of the storm: past, faults in force, what is to come.
    fn bar(&self, tick: &Tick) -> String {
        let (past, fault, coming) = if self.terminal.style.unicode { ('─', '█', '·') } else { ('-', '#', '.') };
        let Some((from, to)) = tick.storm else { return coming.to_string().repeat(BAR) };
        let cell = (to.since(from) / u32::try_from(BAR).unwrap_or(u32::MAX)).max(Duration::from_millis(1));
        let mut start = from;
        let mut bar = String::new();
        for _ in 0..BAR {
            let end = start.plus(cell);
            bar.push(if start > tick.at {
                coming
            } else if self.in_force(start, end.min(tick.at)) {
                fault
            } else {
                past
            });
            start = end;
        }
        bar
    }

    fn in_force(&self, from: RunTime, to: RunTime) -> bool {
        let touches =
            |(onset, healed): &(RunTime, Option<RunTime>)| *onset <= to && healed.is_none_or(|healed| healed >= from);
        self.spans.values().flatten().any(touches)
    }

    fn learn(&mut self, at: RunTime, event: &Event) {
        if let Event::FaultOnset { fault, .. } = event {
            self.spans.entry(fault.clone()).or_default().push((at, None));
        }
        if let Event::FaultHealed { fault } | Event::FaultRefused { fault, .. } = event
            && let Some(span) = self.spans.get_mut(fault).and_then(|spans| spans.last_mut())
        {
            span.1.get_or_insert(at);
        }
    }
}

fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

impl Painter for Live {
    fn paint(&mut self, progress: &Progress) -> String {
        let style = self.terminal.style;
        match progress {
            Progress::Started { repeat: (index, count), .. } => {
                self.run = if *count > 1 { format!("  run {} of {count}", index + 1) } else { String::new() };
                self.tick = None;
                self.spans.clear();
                let opening = words::opening(progress, Paint::Plain, style);
                self.redraw(&opening)
            }
            Progress::Mechanisms(_) => {
                let opening = words::opening(progress, Paint::Dim, style);
                self.redraw(&opening)
            }
            Progress::Event(stamped) => {
                self.learn(stamped.at, &stamped.event);
                let Some((paint, text)) = words::event(&stamped.event) else { return String::new() };
                self.redraw(&format!("{:>9}  {}\n", stamped.at.to_string(), style.paint(paint, &text)))
            }
            Progress::Tick(tick) => {
                self.tick = Some(tick.clone());
                self.redraw("")
            }
        }
    }

    fn finish(&mut self) -> String {
        self.erase()
    }
}
