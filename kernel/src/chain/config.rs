//! The configuration that a dispatcher carries in its `.rodata`, byte by byte.
//!
//! XDP: `struct xdp_dispatcher_config` of libxdp (lib/libxdp/protocol.org, "Dispatcher format").
//! Version 3 (libxdp ≥ 1.6) appends one byte, `is_xdp_devbound`. TC: the same without the flags,
//! with a magic of its own.

use model::{Chain, Member, SLOTS};

const XDP_MAGIC: u8 = 236;
const TC_MAGIC: u8 = 237;
/// Version of new XDP dispatchers: older libraries refuse a newer one.
const XDP_VERSION: u8 = 2;
const XDP_VERSION_DEVBOUND: u8 = 3;
const TC_VERSION: u8 = 1;
/// Proceed-on mask of a program that others follow after `XDP_PASS` alone: one bit an action, as in
/// include/uapi/linux/bpf.h.
const ONLY_PASS: u32 = 1 << 2;
/// `BPF_F_XDP_HAS_FRAGS`, include/uapi/linux/bpf.h.
pub(super) const HAS_FRAGS: u32 = 1 << 5;

/// Which dispatcher program a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// libxdp's, with its version.
    Xdp {
        /// 2 or 3.
        version: u8,
    },
    /// Ours.
    Tc {
        /// A TCX link holds it: TCX knows fewer verdicts than a filter.
        tcx: bool,
    },
}

impl Format {
    /// For an interface without a dispatcher.
    pub(super) const NEW_XDP: Self = Self::Xdp {
        version: XDP_VERSION,
    };

    fn size(self) -> usize {
        match self {
            Self::Xdp {
                version: XDP_VERSION,
            } => 4 + 3 * 4 * SLOTS,
            // One byte, and padding to the alignment of the struct.
            Self::Xdp { .. } => 4 + 3 * 4 * SLOTS + 4,
            Self::Tc { .. } => 4 + 2 * 4 * SLOTS,
        }
    }
}

/// What a dispatcher is told before it is loaded, and what is read back from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which program.
    pub format: Format,
    /// The members in order, without their names: those are in the pins.
    pub members: Vec<Member<()>>,
}

impl Config {
    /// The configuration for a chain.
    pub fn new<P>(format: Format, chain: &Chain<P>) -> Self {
        let members = chain.members().iter().map(|member| Member {
            program: (),
            priority: member.priority,
            proceed_on: member.proceed_on,
            frags: member.frags,
        });
        Self {
            format,
            members: members.collect(),
        }
    }

    /// The chain is one program, and what becomes of a packet is that program's verdict as it is.
    pub(super) fn is_its_member(&self) -> bool {
        matches!(self.format, Format::Xdp { .. })
            && matches!(self.members[..], [Member { proceed_on, .. }] if proceed_on == ONLY_PASS)
    }

    /// Every member can see packets in several fragments.
    pub fn frags(&self) -> bool {
        matches!(self.format, Format::Xdp { .. })
            && !self.members.is_empty()
            && self.members.iter().all(|member| member.frags)
    }

    /// The bytes for `.rodata`.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let count = u8::try_from(self.members.len()).unwrap_or(u8::MAX);
        let head = match self.format {
            Format::Xdp { version } => [XDP_MAGIC, version, count, u8::from(self.frags())],
            Format::Tc { tcx } => [TC_MAGIC, TC_VERSION, count, u8::from(tcx)],
        };
        let mut bytes = head.to_vec();
        let mut column = |value: fn(&Member<()>) -> u32| {
            for slot in 0..SLOTS {
                let value = self.members.get(slot).map_or(0, value);
                bytes.extend_from_slice(&value.to_ne_bytes());
            }
        };
        column(|member| member.proceed_on);
        column(|member| member.priority);
        if matches!(self.format, Format::Xdp { .. }) {
            column(|member| if member.frags { HAS_FRAGS } else { 0 });
        }
        bytes.resize(self.format.size(), 0);
        bytes
    }

    /// What the bytes of a dispatcher say; None when they are of no dispatcher that we know.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [magic, version, count, flag] = *bytes.first_chunk()?;
        let format = match (magic, version) {
            (XDP_MAGIC, XDP_VERSION | XDP_VERSION_DEVBOUND) => Format::Xdp { version },
            (TC_MAGIC, TC_VERSION) => Format::Tc { tcx: flag != 0 },
            _ => return None,
        };
        let count = usize::from(count);
        if count > SLOTS || bytes.len() < 4 + 2 * 4 * SLOTS {
            return None;
        }
        let word = |column: usize, slot: usize| {
            let at = 4 + 4 * (column * SLOTS + slot);
            bytes
                .get(at..at + 4)?
                .try_into()
                .ok()
                .map(u32::from_ne_bytes)
        };
        let member = |slot| {
            let flags = match format {
                Format::Xdp { .. } => word(2, slot)?,
                Format::Tc { .. } => 0,
            };
            Some(Member {
                program: (),
                proceed_on: word(0, slot)?,
                priority: word(1, slot)?,
                frags: flags & HAS_FRAGS != 0,
            })
        };
        let members = (0..count).map(member).collect::<Option<_>>()?;
        Some(Self { format, members })
    }
}

#[cfg(test)]
mod tests {
    use model::ProceedOn;

    use super::*;

    fn two() -> Chain<()> {
        let mut chain = Chain::default();
        for (priority, frags) in [(50, true), (100, true)] {
            let proceed_on = ProceedOn::XDP_DEFAULT.0;
            chain
                .insert(Member {
                    program: (),
                    priority,
                    proceed_on,
                    frags,
                })
                .unwrap();
        }
        chain
    }

    /// The layout is a protocol: a change here locks out xdp-loader.
    #[test]
    fn golden_bytes_of_version_2() {
        let bytes = Config::new(Format::NEW_XDP, &two()).bytes();
        let mut golden = vec![236, 2, 2, 1];
        for words in [[0x8000_0004_u32, 0x8000_0004], [50, 100], [32, 32]] {
            for word in words {
                golden.extend(word.to_ne_bytes());
            }
            golden.resize(golden.len() + 8 * 4, 0);
        }
        assert_eq!(bytes, golden);
        assert_eq!(bytes.len(), 124);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for format in [
            Format::NEW_XDP,
            Format::Xdp { version: 3 },
            Format::Tc { tcx: true },
            Format::Tc { tcx: false },
        ] {
            let mut config = Config::new(format, &two());
            if matches!(format, Format::Tc { .. }) {
                config
                    .members
                    .iter_mut()
                    .for_each(|member| member.frags = false);
            }
            assert_eq!(Config::parse(&config.bytes()), Some(config));
        }
        assert_eq!(
            Config::new(Format::Xdp { version: 3 }, &two())
                .bytes()
                .len(),
            128
        );
    }

    #[test]
    fn other_bytes_are_no_dispatcher() {
        for bytes in [
            &[][..],
            &[236, 2, 1],
            &[1; 124],
            &[236, 9, 0, 0],
            &[236, 2, 11, 0],
        ] {
            let mut bytes = bytes.to_vec();
            assert_eq!(Config::parse(&bytes), None);
            bytes.resize(124, 0);
            if bytes[..3] != [236, 2, 1] {
                assert_eq!(Config::parse(&bytes), None, "{:?}", &bytes[..4]);
            }
        }
    }
}
