use std::collections::{BTreeMap, BTreeSet};

use model::{ProgramId, Record};
use proptest::prelude::*;

use super::{desired, manifest, record};
use crate::{Action, Desired, Owner, Step, Wish, export, needs_digest, plan};

fn wishes(desired: &[Desired]) -> Vec<Wish> {
    let wish = |desired: &Desired| Wish {
        desired: desired.clone(),
        digest: None,
    };
    desired.iter().map(wish).collect()
}

fn xdp(name: &str, iface: &str, more: &str) -> Desired {
    let spec =
        format!("bytecode: {{path: /x.o}}\ninterfaceselector: {{interfaces: [{iface}]}}\n{more}");
    desired(&manifest("XdpProgram", name, &spec)).remove(0)
}

fn words(steps: &[Step]) -> Vec<String> {
    let word = |step: &Step| {
        let id = step.action.id().map_or("-".to_owned(), |id| id.to_string());
        format!("{} {} {id}", step.action.word(), step.identity.name)
    };
    steps.iter().map(word).collect()
}

fn go(desired: &[Desired], records: &[Record]) -> Vec<String> {
    words(&plan(&wishes(desired), records, &BTreeSet::new()))
}

#[test]
fn what_differs_is_named() {
    let old = xdp("a", "eth0", "priority: 50\nglobaldata: {g: AQ==}");
    let loaded = [record(&old, 7, 7, None)];
    assert_eq!(go(&[old], &loaded), ["keep a 7"]);
    let new = xdp(
        "a",
        "eth0",
        "priority: 60\nglobaldata: {g: Ag==, h: AA==}\nproceedon: [drop]\nbpffunctionname: other",
    );
    let steps = plan(&wishes(&[new]), &loaded, &BTreeSet::new());
    let differences: Vec<String> = steps[0]
        .action
        .differences()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        differences,
        [
            "bpffunctionname f -> other",
            "globaldata.g 01 -> 02",
            "globaldata.h none -> 00",
            "priority 50 -> 60",
            "proceedon pass,dispatcher_return -> drop",
        ]
    );
    assert!(matches!(
        steps[0].action,
        Action::Replace {
            id: ProgramId(7),
            ..
        }
    ));
}

#[test]
fn labels_and_sets_need_no_other_program() {
    let old = xdp("a", "eth0", "");
    let loaded = [record(&old, 7, 7, None)];
    let mut new = old.clone();
    new.labels.insert("who".into(), "me".into());
    assert_eq!(go(&[new], &loaded), ["update a 7"]);
    let mut new = old;
    new.set = "/elsewhere".into();
    assert_eq!(go(&[new], &loaded), ["update a 7"]);
}

#[test]
fn bytecode_counts_by_its_content() {
    let wish = xdp("a", "eth0", "");
    let loaded = [record(&wish, 7, 7, None)];
    let planned = |desired: &Desired, digest: &str| {
        let wish = Wish {
            desired: desired.clone(),
            digest: Some(digest.to_owned()),
        };
        words(&plan(&[wish], &loaded, &BTreeSet::new()))
    };
    assert_eq!(planned(&wish, "aa"), ["keep a 7"]);
    assert_eq!(planned(&wish, "bb"), ["replace a 7"]);
    // Another path to the same object.
    let mut moved = wish.clone();
    moved.source = model::Source::File {
        path: "/y.o".into(),
    };
    assert_eq!(planned(&moved, "aa"), ["update a 7"]);
    assert_eq!(go(&[moved], &loaded), ["replace a 7"]);
}

#[test]
fn registries_are_asked_only_where_it_may_matter() {
    let image = |url: &str, policy: &str| {
        let spec =
            format!("bytecode: {{image: {{url: {url}, imagepullpolicy: {policy}}}}}\nfunc_name: g");
        desired(&manifest("FexitProgram", "a", &spec)).remove(0)
    };
    let present = image("r.io/x:1", "IfNotPresent");
    let loaded = [record(&present, 7, 7, None)];
    assert!(!needs_digest(&present, &loaded));
    assert!(needs_digest(&image("r.io/x:1", "Always"), &loaded));
    assert!(needs_digest(&image("r.io/x:2", "Never"), &loaded));
    assert!(!needs_digest(&image("r.io/x:1", "Always"), &[]));
    assert_eq!(go(&[image("r.io/x:1", "Always")], &loaded), ["update a 7"]);
}

#[test]
fn only_pruned_sets_lose_what_nobody_wishes_for() {
    let (a, b, mut c) = (
        xdp("a", "eth0", ""),
        xdp("b", "eth0", ""),
        xdp("c", "eth0", ""),
    );
    c.set = "/other".into();
    let mut typed = record(&xdp("d", "eth0", "priority: 1"), 9, 9, None);
    typed.metadata.clear();
    let loaded = [
        record(&a, 1, 1, None),
        record(&b, 2, 2, None),
        record(&c, 3, 3, None),
        typed,
    ];
    let prune = BTreeSet::from([a.set.clone()]);
    let steps = plan(&wishes(std::slice::from_ref(&a)), &loaded, &prune);
    assert_eq!(words(&steps), ["keep a 1", "remove b 2"]);
    assert_eq!(go(&[a], &loaded), ["keep a 1"]);
}

/// What a command that was killed may leave.
#[test]
fn of_two_that_were_loaded_for_one_wish_one_goes() {
    let wish = xdp("a", "eth0", "priority: 5");
    let old = xdp("a", "eth0", "priority: 6");
    let loaded = [record(&wish, 1, 1, None), record(&old, 2, 2, None)];
    assert_eq!(go(&[wish], &loaded), ["keep a 1", "remove a 2"]);
}

#[test]
fn what_was_typed_and_is_just_so_is_taken_over() {
    let wish = xdp("a", "eth0", "priority: 5");
    let mut typed = record(&wish, 4, 4, None);
    typed.metadata = BTreeMap::from([("k".into(), "v".into())]);
    assert_eq!(
        go(std::slice::from_ref(&wish), &[typed.clone()]),
        ["update a 4"]
    );
    // Never twice, and not where it differs.
    let twin = xdp("b", "eth0", "priority: 5");
    assert_eq!(
        go(&[wish, twin], &[typed.clone()]),
        ["update a 4", "create b -"]
    );
    assert_eq!(
        go(&[xdp("c", "eth0", "priority: 6")], &[typed]),
        ["create c -"]
    );
}

fn sharer(name: &str, label: &str) -> Desired {
    xdp(
        name,
        "eth0",
        &format!("mapownerselector: {{matchLabels: {{l: {label}}}}}"),
    )
}

fn labelled(mut desired: Desired, label: &str) -> Desired {
    desired.labels.insert("l".into(), label.into());
    desired
}

#[test]
fn owners_come_first_and_sharers_follow() {
    let owner = labelled(xdp("o", "eth0", ""), "x");
    let wished = [sharer("s", "x"), owner.clone()];
    let steps = plan(&wishes(&wished), &[], &BTreeSet::new());
    assert_eq!(words(&steps), ["create o -", "create s -"]);
    assert_eq!(steps[1].owner, Some(Owner::Wish(1)));
    let loaded = [
        record(&owner, 1, 1, None),
        record(&wished[0], 2, 1, Some(1)),
    ];
    assert_eq!(go(&wished, &loaded), ["keep o 1", "keep s 2"]);
    // Another owner is another set of maps.
    let changed = [
        wished[0].clone(),
        labelled(xdp("o", "eth0", "priority: 3"), "x"),
    ];
    assert_eq!(go(&changed, &loaded), ["replace o 1", "replace s 2"]);
    // The owner may be loaded from elsewhere.
    let steps = plan(&wishes(&wished[..1]), &loaded[..1], &BTreeSet::new());
    assert_eq!(steps[0].owner, Some(Owner::Loaded(ProgramId(1))));
    assert_eq!(go(&wished[..1], &[]), ["refuse s -"]);
}

#[test]
fn owners_in_a_ring_are_refused() {
    let ring = [
        labelled(sharer("a", "y"), "x"),
        labelled(sharer("b", "x"), "y"),
    ];
    assert_eq!(go(&ring, &[]), ["refuse a -", "refuse b -"]);
}

#[test]
fn an_export_plans_nothing() {
    let owner = labelled(xdp("o", "eth0", "priority: 3\nglobaldata: {g: AQ==}"), "x");
    let mut typed = record(&xdp("t", "eth1", "netns: blue\nproceedon: []"), 8, 8, None);
    typed.metadata.clear();
    let mut typed_sharer = record(&xdp("u", "eth1", "priority: 9"), 9, 8, Some(8));
    typed_sharer.metadata = BTreeMap::from([("k".into(), "v".into())]);
    let names = "bytecode: {path: /x.o}\nbpffunctionname: f\nnames: [a/b, c/d]";
    let events = desired(&manifest("TracepointProgram", "e", names));
    let loaded = [
        record(&owner, 1, 1, None),
        record(&sharer("s", "x"), 2, 1, Some(1)),
        typed,
        typed_sharer,
        record(&events[0], 3, 3, None),
        record(&events[1], 4, 4, None),
    ];
    let text = export(&loaded).unwrap();
    assert_eq!(text.matches("apiVersion").count(), 5, "{text}");
    let back = desired(&text);
    let steps = plan(&wishes(&back), &loaded, &BTreeSet::new());
    let changing: Vec<_> = steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Keep { .. } | Action::Update { .. }))
        .collect();
    assert!(changing.is_empty(), "{changing:#?}\n{text}");
    assert_eq!(steps.len(), loaded.len());
}

/// One of a few programs on one of two interfaces.
fn any_desired() -> impl Strategy<Value = Vec<Desired>> {
    let one = (0..4_u8, 0..2_u8, 0..3_u32);
    prop::collection::vec(one, 0..7).prop_map(|all| {
        let mut seen = BTreeSet::new();
        let fresh = all
            .into_iter()
            .filter(|(name, iface, _)| seen.insert((*name, *iface)));
        let make = |(name, iface, priority)| {
            xdp(
                &format!("n{name}"),
                &format!("eth{iface}"),
                &format!("priority: {priority}"),
            )
        };
        fresh.map(make).collect()
    })
}

/// Does what the steps say, as the manager would.
fn done(steps: &[Step], wishes: &[Desired], mut records: Vec<Record>, next: u32) -> Vec<Record> {
    for (id, step) in (next..).zip(steps) {
        if let Some(old) = step.action.id()
            && !matches!(step.action, Action::Keep { .. } | Action::Update { .. })
        {
            records.retain(|record| record.id != old);
        }
        if let (Action::Create | Action::Replace { .. }, Some(wish)) = (&step.action, step.wish) {
            records.push(record(&wishes[wish], id, id, None));
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From any state to any other in one go: then nothing is left to do, and with --prune exactly
    /// what is wished for is loaded.
    #[test]
    fn one_plan_is_enough(before in any_desired(), after in any_desired()) {
        let prune: BTreeSet<String> = ["standard input".to_owned(), "-".to_owned()].into();
        let loaded = done(&plan(&wishes(&before), &[], &prune), &before, Vec::new(), 1);
        let steps = plan(&wishes(&after), &loaded, &prune);
        // What goes, goes last.
        let first_removal = steps.iter().position(|step| step.wish.is_none());
        let rest = &steps[first_removal.unwrap_or(steps.len())..];
        prop_assert!(rest.iter().all(|step| step.wish.is_none()));
        // A program that does not differ is not touched.
        for step in &steps {
            if let Some(wish) = step.wish {
                let same = before.contains(&after[wish]);
                let kept = matches!(step.action, Action::Keep { .. });
                prop_assert_eq!(same, kept);
            }
        }
        let now = done(&steps, &after, loaded, 100);
        prop_assert_eq!(now.len(), after.len());
        let again = plan(&wishes(&after), &now, &prune);
        let at_rest = |step: &Step| matches!(step.action, Action::Keep { .. });
        prop_assert!(again.iter().all(at_rest));
    }
}
