//! How far a download is, on stderr: a bar on a terminal, one line elsewhere.

use std::{
    cell::OnceCell,
    io::{self, IsTerminal as _, Write as _},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use manager::Event;
use model::ImageReference;

/// Bytes, rate and time left.
const STYLE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";

/// Shows one download; the bar goes when this is dropped.
pub(crate) struct Progress {
    name: String,
    quiet: bool,
    bar: OnceCell<Option<ProgressBar>>,
}

impl Progress {
    pub(crate) fn new(url: &ImageReference, quiet: bool) -> Self {
        Self {
            name: url.to_string(),
            quiet,
            bar: OnceCell::new(),
        }
    }

    /// Takes note of an event.
    pub(crate) fn show(&self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Downloading { done, total } => {
                let bar = self.bar.get_or_init(|| self.begin(total));
                if let Some(bar) = bar {
                    bar.set_position(done);
                }
            }
            Event::Waiting { wait } => {
                if let Some(Some(bar)) = self.bar.get() {
                    bar.set_message(format!("{}: waiting {} s", self.name, wait.as_secs()));
                }
            }
        }
    }

    /// The first sign of a download; None where there is no terminal.
    fn begin(&self, total: u64) -> Option<ProgressBar> {
        if !io::stderr().is_terminal() {
            let (name, size) = (&self.name, HumanBytes(total));
            // A closed stderr must not stop what the command is doing.
            let _ = writeln!(io::stderr(), "downloading {name} ({size})");
            return None;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        bar.set_message(self.name.clone());
        Some(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Some(bar)) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
