//! Return values on which a chain goes on to its next program.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Kind;

/// A set of return values, as the mask that a dispatcher's configuration holds.
///
/// XDP: bit `1 << action` (libxdp's dispatcher protocol). TC: bit `1 << (action + 1)`, because
/// `TC_ACT_UNSPEC` is -1. In both, bit 31 is what a slot without a program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProceedOn(pub u32);

/// Bit of `dispatcher_return`, the value that an empty slot returns.
const DISPATCHER_RETURN: u32 = 31;

/// `enum xdp_action`, include/uapi/linux/bpf.h; the bit is the value.
const XDP: [(&str, u32); 6] = [
    ("aborted", 0),
    ("drop", 1),
    ("pass", 2),
    ("tx", 3),
    ("redirect", 4),
    ("dispatcher_return", DISPATCHER_RETURN),
];

/// `TC_ACT_*`, include/uapi/linux/pkt_cls.h; the bit is the value plus one.
const TC: [(&str, u32); 11] = [
    ("unspec", 0),
    ("ok", 1),
    ("reclassify", 2),
    ("shot", 3),
    ("pipe", 4),
    ("stolen", 5),
    ("queued", 6),
    ("repeat", 7),
    ("redirect", 8),
    ("trap", 9),
    ("dispatcher_return", DISPATCHER_RETURN),
];

/// A word that is no action of the hook.
#[derive(Debug, thiserror::Error)]
#[error("unknown action '{action}' for {kind}: use one of {}", ProceedOn::words(*.kind).collect::<Vec<_>>().join(", "))]
pub struct UnknownAction {
    /// The word.
    pub action: String,
    /// Where it was used.
    pub kind: Kind,
}

/// A return value that is no action of the hook.
#[derive(Debug, thiserror::Error)]
#[error("unknown action {value} for {kind}: use one of {}", ProceedOn(u32::MAX).values(*.kind).map(|value| value.to_string()).collect::<Vec<_>>().join(", "))]
pub struct UnknownValue {
    /// The value.
    pub value: i32,
    /// Where it was used.
    pub kind: Kind,
}

/// What a program returns for the action of a bit.
fn value(kind: Kind, bit: u32) -> i32 {
    // Bits are below 32.
    let bit = i32::try_from(bit).unwrap_or_default();
    if kind == Kind::Tc { bit - 1 } else { bit }
}

impl ProceedOn {
    /// What a program of this kind proceeds on unless somebody says otherwise.
    pub const fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Tc => Self::TC_DEFAULT,
            _ => Self::XDP_DEFAULT,
        }
    }

    /// `pass, dispatcher_return`.
    pub const XDP_DEFAULT: Self = Self(1 << 2 | 1 << DISPATCHER_RETURN);
    /// `ok, pipe, dispatcher_return`.
    pub const TC_DEFAULT: Self = Self(1 << 1 | 1 << 4 | 1 << DISPATCHER_RETURN);

    /// The table of a chained kind; empty for kinds that have no chain of ours.
    fn table(kind: Kind) -> &'static [(&'static str, u32)] {
        match kind {
            Kind::Xdp => &XDP,
            Kind::Tc => &TC,
            _ => &[],
        }
    }

    /// The words that `--proceed-on` takes for `kind`.
    pub fn words(kind: Kind) -> impl Iterator<Item = &'static str> {
        Self::table(kind).iter().map(|(word, _)| *word)
    }

    /// The set of the named actions.
    pub fn parse<S: AsRef<str>>(
        kind: Kind,
        actions: impl IntoIterator<Item = S>,
    ) -> Result<Self, UnknownAction> {
        actions.into_iter().try_fold(Self(0), |set, action| {
            let action = action.as_ref();
            Self::table(kind)
                .iter()
                .find(|(word, _)| *word == action)
                .map(|(_, bit)| Self(set.0 | 1 << bit))
                .ok_or_else(|| UnknownAction {
                    action: action.to_owned(),
                    kind,
                })
        })
    }

    /// The actions in the set, in the kernel's order.
    pub fn actions(self, kind: Kind) -> impl Iterator<Item = &'static str> {
        Self::table(kind)
            .iter()
            .filter(move |(_, bit)| self.0 & 1 << bit != 0)
            .map(|(word, _)| *word)
    }

    /// The set of the actions that programs return as these values. That of `dispatcher_return` is
    /// 31 for XDP and 30 for TC.
    pub fn from_values(
        kind: Kind,
        values: impl IntoIterator<Item = i32>,
    ) -> Result<Self, UnknownValue> {
        values.into_iter().try_fold(Self(0), |set, wanted| {
            Self::table(kind)
                .iter()
                .find(|(_, bit)| value(kind, *bit) == wanted)
                .map(|(_, bit)| Self(set.0 | 1 << bit))
                .ok_or(UnknownValue {
                    value: wanted,
                    kind,
                })
        })
    }

    /// What programs return for the actions in the set.
    pub fn values(self, kind: Kind) -> impl Iterator<Item = i32> {
        Self::table(kind)
            .iter()
            .filter(move |(_, bit)| self.0 & 1 << bit != 0)
            .map(move |(_, bit)| value(kind, *bit))
    }

    /// As `get` shows it: `pass, dispatcher_return`.
    pub fn display(self, kind: Kind) -> impl fmt::Display {
        self.actions(kind).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_the_protocols() {
        let set = ProceedOn::parse(Kind::Xdp, ["pass", "dispatcher_return"]).unwrap();
        assert_eq!(set, ProceedOn::XDP_DEFAULT);
        assert_eq!(set.0, 0x8000_0004);
        let set = ProceedOn::parse(Kind::Tc, ["dispatcher_return", "unspec", "trap"]).unwrap();
        assert_eq!(set.0, 0x8000_0201);
        assert_eq!(
            set.display(Kind::Tc).to_string(),
            "unspec, trap, dispatcher_return"
        );
        assert!(ProceedOn::parse(Kind::Xdp, ["ok"]).is_err());
    }
    #[test]
    fn values_are_those_that_programs_return() {
        for (kind, set, values) in [
            (Kind::Xdp, ProceedOn::XDP_DEFAULT, vec![2, 31]),
            (Kind::Tc, ProceedOn::TC_DEFAULT, vec![0, 3, 30]),
            (Kind::Tc, ProceedOn(1 | 1 << 9), vec![-1, 8]),
        ] {
            assert_eq!(set.values(kind).collect::<Vec<_>>(), values);
            assert_eq!(ProceedOn::from_values(kind, values).ok(), Some(set));
        }
        let error = ProceedOn::from_values(Kind::Xdp, [2, 5]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown action 5 for xdp: use one of 0, 1, 2, 3, 4, 31"
        );
        assert!(ProceedOn::from_values(Kind::Tc, [31]).is_err());
        assert!(ProceedOn::from_values(Kind::Xdp, [-1]).is_err());
    }
}
