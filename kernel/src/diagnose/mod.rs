//! Why the kernel said no. Asked after a failure only, never before.

mod feature;
mod privilege;

pub use feature::{Feature, Lack, missing_feature};
pub use privilege::{lacks_sys_admin, memory_is_limited, missing_privilege};

use crate::{kallsyms, suggest::Nearest};

/// The kernel function that is spelt most like `name`; None when nothing is near.
pub fn did_you_mean_function(name: &str) -> Option<String> {
    let mut nearest = Nearest::new(name);
    let mut copy = None;
    let mut seen = false;
    let listed = kallsyms::each_function(|function| {
        seen |= function.name == name;
        // The compiler cut the function that was meant: foo.isra.0, foo.constprop.0
        let is_copy = function
            .name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'));
        if is_copy && copy.is_none() {
            copy = Some(function.name.to_owned());
        }
        nearest.offer(function.name);
    });
    if listed.is_err() || seen || name.is_empty() {
        return None;
    }
    copy.or_else(|| nearest.finish())
}
