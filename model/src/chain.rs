//! The order of the programs that share one hook. Pure.

use serde::{Deserialize, Serialize};

/// Slots of a dispatcher, ours and libxdp's alike (`MAX_DISPATCHER_ACTIONS`).
pub const SLOTS: usize = 10;

/// Priority of a program whose user named none.
pub const DEFAULT_PRIORITY: u32 = 1000;

/// One program of a chain and how it takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member<P> {
    /// Who it is: an id, a descriptor, or nothing yet.
    pub program: P,
    /// 0 runs first.
    pub priority: u32,
    /// Mask of return values on which the chain goes on, see [`crate::ProceedOn`].
    pub proceed_on: u32,
    /// It can see packets in several fragments (`BPF_F_XDP_HAS_FRAGS`, XDP only).
    pub frags: bool,
}

/// All slots are taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {SLOTS} slots of the chain are taken")]
pub struct ChainFull;

/// The programs of one hook in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<P> {
    members: Vec<Member<P>>,
}

impl<P> Default for Chain<P> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
        }
    }
}

impl<P> Chain<P> {
    /// A chain as the kernel runs it: the order is kept, whatever the priorities say.
    pub fn from_members(members: Vec<Member<P>>) -> Result<Self, ChainFull> {
        if members.len() > SLOTS {
            Err(ChainFull)
        } else {
            Ok(Self { members })
        }
    }

    /// Puts a program before the first one of the same or a higher priority number, so that of
    /// equals the newest runs first. Answers its position.
    pub fn insert(&mut self, member: Member<P>) -> Result<usize, ChainFull> {
        if self.members.len() >= SLOTS {
            return Err(ChainFull);
        }
        let position = self
            .members
            .iter()
            .position(|other| other.priority >= member.priority)
            .unwrap_or(self.members.len());
        self.members.insert(position, member);
        Ok(position)
    }

    /// In the order in which they run.
    pub fn members(&self) -> &[Member<P>] {
        &self.members
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Every member can see packets in several fragments, so the whole chain can.
    pub fn frags(&self) -> bool {
        !self.members.is_empty() && self.members.iter().all(|member| member.frags)
    }

    /// The same order with other names for the programs.
    pub fn map<Q>(self, mut f: impl FnMut(P) -> Q) -> Chain<Q> {
        Chain {
            members: self
                .members
                .into_iter()
                .map(|m| Member {
                    program: f(m.program),
                    priority: m.priority,
                    proceed_on: m.proceed_on,
                    frags: m.frags,
                })
                .collect(),
        }
    }
}

impl<P: PartialEq> Chain<P> {
    /// Takes a program out; the others keep their order. Answers the position it had.
    pub fn remove(&mut self, program: &P) -> Option<usize> {
        let position = self.position(program)?;
        self.members.remove(position);
        Some(position)
    }

    /// Puts a program in the place of another one: into the same slot where the priority stays, as
    /// the newest of its priority otherwise. Answers its position; None where there is no such
    /// program.
    pub fn exchange(&mut self, old: &P, new: Member<P>) -> Option<usize> {
        let position = self.position(old)?;
        if let Some(slot) = self.members.get_mut(position)
            && slot.priority == new.priority
        {
            *slot = new;
            return Some(position);
        }
        self.members.remove(position);
        // One has just left, so there is room.
        self.insert(new).ok()
    }

    /// Where a program runs, 0 first.
    pub fn position(&self, program: &P) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.program == *program)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(program: u32, priority: u32) -> Member<u32> {
        Member {
            program,
            priority,
            proceed_on: 4 + program,
            frags: false,
        }
    }

    #[test]
    fn newest_of_equals_runs_first() {
        let mut chain = Chain::default();
        assert_eq!(chain.insert(member(0, 100)), Ok(0));
        assert_eq!(chain.insert(member(1, 100)), Ok(0));
        assert_eq!(chain.insert(member(2, 50)), Ok(0));
        assert_eq!(chain.insert(member(3, 200)), Ok(3));
        let order: Vec<_> = chain.members().iter().map(|m| m.program).collect();
        assert_eq!(order, [2, 1, 0, 3]);
    }

    #[test]
    fn the_eleventh_is_refused_and_changes_nothing() {
        let mut chain = Chain::default();
        for n in 0..10 {
            chain.insert(member(n, 5)).unwrap();
        }
        let before = chain.clone();
        assert_eq!(chain.insert(member(10, 0)), Err(ChainFull));
        assert_eq!(chain, before);
    }

    #[test]
    fn exchanged_in_place_or_by_priority() {
        let mut chain = Chain::default();
        for n in 0..10 {
            chain.insert(member(n, 5)).unwrap();
        }
        let order = |chain: &Chain<u32>| {
            chain
                .members()
                .iter()
                .map(|m| m.program)
                .collect::<Vec<_>>()
        };
        assert_eq!(chain.exchange(&3, member(30, 5)), Some(6));
        assert_eq!(order(&chain), [9, 8, 7, 6, 5, 4, 30, 2, 1, 0]);
        assert_eq!(chain.exchange(&30, member(31, 4)), Some(0));
        assert_eq!(order(&chain), [31, 9, 8, 7, 6, 5, 4, 2, 1, 0]);
        assert_eq!(chain.exchange(&31, member(32, 6)), Some(9));
        assert_eq!(chain.exchange(&31, member(33, 6)), None);
        assert_eq!(chain.len(), 10);
    }

    proptest! {
        /// What the kernel gets after any sequence of changes: sorted, stable, each program with
        /// its own mask.
        #[test]
        fn any_sequence_keeps_order_and_masks(steps in prop::collection::vec((any::<bool>(), 0u32..5, 0usize..12), 0..60)) {
            let mut chain = Chain::default();
            let mut model: Vec<(u32, u32)> = Vec::new();
            for (number, (insert, priority, which)) in (0..).zip(steps) {
                if insert {
                    let full = model.len() == SLOTS;
                    prop_assert_eq!(chain.insert(member(number, priority)).is_err(), full);
                    if !full { model.push((priority, number)); }
                } else if !model.is_empty() {
                    let (_, program) = model.remove(which % model.len());
                    prop_assert!(chain.remove(&program).is_some());
                }
                let mut wanted = model.clone();
                wanted.sort_by_key(|(priority, number)| (*priority, std::cmp::Reverse(*number)));
                let got: Vec<_> = chain.members().iter().map(|m| (m.priority, m.program)).collect();
                prop_assert_eq!(got, wanted);
                prop_assert!(chain.members().iter().all(|m| m.proceed_on == 4 + m.program));
            }
        }
    }
}
