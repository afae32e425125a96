//! Compensations: what to do backwards when a later step fails.

use kernel::Result;

use crate::report::in_one_line;

type Step<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + 'a>);

/// A stack of named compensations that runs in reverse on drop unless defused.
#[derive(Default)]
pub(crate) struct Undo<'a>(Vec<Step<'a>>);

impl<'a> Undo<'a> {
    /// Remembers how to take back the step that was just done.
    pub(crate) fn push(&mut self, name: &'static str, step: impl FnOnce() -> Result<()> + 'a) {
        self.0.push((name, Box::new(step)));
    }

    /// Everything is done: nothing will be taken back.
    pub(crate) fn defuse(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((name, step)) = self.0.pop() {
            // What is left over goes with the next command that writes.
            if let Err(error) = step() {
                log::error!("cannot {name} after a failure: {}", in_one_line(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, io};

    use super::*;

    #[test]
    fn steps_run_in_reverse_and_all_of_them() {
        let seen = RefCell::new(Vec::new());
        {
            let mut undo = Undo::default();
            undo.push("first", || {
                seen.borrow_mut().push(1);
                Ok(())
            });
            undo.push("second", || {
                Err(kernel::Error::Fault(io::Error::other("no")))
            });
            undo.push("third", || {
                seen.borrow_mut().push(3);
                Ok(())
            });
        }
        assert_eq!(*seen.borrow(), [3, 1]);
    }

    #[test]
    fn defused_does_nothing() {
        let mut undo = Undo::default();
        undo.push("never", || panic!("ran"));
        undo.defuse();
    }
}
