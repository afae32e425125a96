//! Others on the same interface: libxdp, plain XDP programs, qdiscs and filters.

use testkit::{Feature, Sandbox, json, object, tool, xdp_loader};

use crate::support::{foreign_filter, ingress, loader_count, loader_joins, positions, tc, xdp};

/// Their chain goes, and their maps with it.
fn clean(iface: &str) {
    xdp_loader(&["unload", "-a", iface]).ok();
    for entry in std::fs::read_dir("/sys/fs/bpf").unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

/// Ids of the programs that xdp-loader shows on the interface, in their order, dispatcher aside.
fn status(iface: &str) -> Vec<(u32, u32)> {
    let text = xdp_loader(&["status", iface]).ok();
    let rows = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("=>"));
    rows.map(|row| {
        let words: Vec<&str> = row.split_ascii_whitespace().collect();
        // priority, name, id, tag, actions
        (words[2].parse().unwrap(), words[0].parse().unwrap())
    })
    .collect()
}

#[test]
fn a_chain_of_xdp_loader_is_joined_and_survives() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    loader_joins(&veth.name, "50").ok();
    let early = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
    let late = sandbox.load(&xdp("pass").xdp(&veth.name).priority(60));
    assert_eq!(ingress(&sandbox, &veth, 5, &[early, late]), (vec![5, 5], 5));
    assert_eq!(loader_count(), 5);
    let shown = status(&veth.name);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert_eq!((shown[0], shown[2]), ((early, 10), (late, 60)));
    assert_eq!(shown[1].1, 50, "theirs keeps its priority");
    assert_eq!(positions(&sandbox, &[early, late]), [0, 2], "theirs counts");
    assert_eq!(sandbox.ids(), [early, late], "theirs is not listed");
    assert!(sandbox.get(shown[1].0).is_foreign());
    sandbox
        .bpfman(["unload", &shown[1].0.to_string()])
        .fails(1, &["not loaded by bpfman"]);
    sandbox.unload(early);
    sandbox.unload(late);
    assert_eq!(veth.ingress(5), 5);
    assert_eq!(loader_count(), 10);
    assert_eq!(status(&veth.name), [shown[1]]);
    clean(&veth.name);
}

#[test]
fn xdp_loader_joins_a_chain_of_ours_and_leaves_it() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    let early = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
    let late = sandbox.load(&xdp("pass").xdp(&veth.name).priority(60));
    assert_eq!(status(&veth.name), [(early, 10), (late, 60)]);
    loader_joins(&veth.name, "50").ok();
    assert_eq!(ingress(&sandbox, &veth, 5, &[early, late]), (vec![5, 5], 5));
    assert_eq!(loader_count(), 5);
    assert_eq!(positions(&sandbox, &[early, late]), [0, 2]);
    let theirs = status(&veth.name)[1].0;
    // Our next change keeps theirs.
    let newest = sandbox.load(&xdp("pass").xdp(&veth.name).priority(30));
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[early, newest, late]),
        (vec![5; 3], 5)
    );
    assert_eq!(loader_count(), 10);
    xdp_loader(&["unload", "-i", &theirs.to_string(), &veth.name]).ok();
    assert_eq!(
        ingress(&sandbox, &veth, 5, &[early, newest, late]),
        (vec![5; 3], 5)
    );
    assert_eq!(positions(&sandbox, &[early, newest, late]), [0, 1, 2]);
    assert_eq!(loader_count(), 10);
    std::fs::remove_dir_all("/sys/fs/bpf/foreign").unwrap();
    sandbox.unload(newest);
    assert_eq!(ingress(&sandbox, &veth, 5, &[early, late]), (vec![5, 5], 5));
}

#[test]
fn xdp_loader_joins_and_leaves_a_program_alone_that_proceeds_on_pass() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    let lone = xdp("pass").xdp(&veth.name).priority(10);
    let lone = sandbox.load(&lone.proceed_on(&["pass"]));
    assert_eq!(status(&veth.name), [(lone, 10)]);
    assert_eq!(ingress(&sandbox, &veth, 5, &[lone]), (vec![5], 5));
    loader_joins(&veth.name, "50").ok();
    assert_eq!(ingress(&sandbox, &veth, 5, &[lone]), (vec![5], 5));
    assert_eq!(loader_count(), 5);
    let theirs = status(&veth.name)[1].0;
    xdp_loader(&["unload", "-i", &theirs.to_string(), &veth.name]).ok();
    assert_eq!(ingress(&sandbox, &veth, 5, &[lone]), (vec![5], 5));
    assert_eq!(loader_count(), 5);
    std::fs::remove_dir_all("/sys/fs/bpf/foreign").unwrap();
    sandbox.unload(lone);
}

/// Somebody takes our program away with xdp-loader: it is gone for us as well.
#[test]
fn xdp_loader_unloads_one_of_ours() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    let one = sandbox.load(&xdp("pass").xdp(&veth.name).priority(10));
    let two = sandbox.load(&xdp("pass").xdp(&veth.name).priority(20));
    xdp_loader(&["unload", "-i", &one.to_string(), &veth.name]).ok();
    assert_eq!(ingress(&sandbox, &veth, 5, &[two]), (vec![5], 5));
    // Any writer cleans up.
    let three = sandbox.load(&xdp("pass").xdp(&veth.name).priority(5));
    assert_eq!(sandbox.ids(), [two, three]);
    assert_eq!(ingress(&sandbox, &veth, 5, &[three, two]), (vec![5, 5], 5));
    xdp_loader(&["unload", "-a", &veth.name]).ok();
    assert_eq!(veth.ingress(5), 5);
    let four = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(sandbox.ids(), [four]);
}

#[test]
fn a_full_chain_counts_foreign_programs() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpLoader]) else {
        return;
    };
    let veth = sandbox.veth();
    loader_joins(&veth.name, "50").ok();
    let load = xdp("pass").xdp(&veth.name).priority(60);
    let ids: Vec<u32> = (0..9).map(|_| sandbox.load(&load)).collect();
    sandbox.try_load(&load).fails(1, &[&veth.name, "10"]);
    for id in ids {
        sandbox.unload(id);
    }
    assert_eq!(status(&veth.name).len(), 1);
    clean(&veth.name);
}

/// A plain program of somebody else, attached by `ip`, is never replaced.
#[test]
fn a_foreign_plain_program_is_left_alone() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let path = object("xdp_frags").path.with_file_name("xdp_verdict.bpf.o");
    tool(
        "bpftool",
        &["prog", "load", path.to_str().unwrap(), "/sys/fs/bpf/plain"],
    )
    .ok();
    for attach in ["xdpdrv", "xdpgeneric"] {
        let words = [
            "net",
            "attach",
            attach,
            "pinned",
            "/sys/fs/bpf/plain",
            "dev",
            &veth.name,
        ];
        tool("bpftool", &words).ok();
        let refused = sandbox.unchanged(|| sandbox.try_load(&xdp("pass").xdp(&veth.name)));
        refused.fails(1, &[&veth.name, "xdp_verdict"]);
        tool("bpftool", &["net", "detach", attach, "dev", &veth.name]).ok();
    }
    std::fs::remove_file("/sys/fs/bpf/plain").unwrap();
    let id = sandbox.load(&xdp("pass").xdp(&veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
}

fn qdiscs(iface: &str) -> String {
    let filters = |side| json("tc", &["-j", "-s", "filter", "show", "dev", iface, side]);
    let qdisc = json("tc", &["-j", "qdisc", "show", "dev", iface]);
    format!("{qdisc}\n{}\n{}", filters("ingress"), filters("egress"))
        .lines()
        .map(|line| {
            line.split("\"stats\"")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[test]
fn a_foreign_clsact_and_its_filters_are_left_alone() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    tool("tc", &["qdisc", "add", "dev", &veth.name, "clsact"]).ok();
    for side in ["ingress", "egress"] {
        foreign_filter(&veth.name, side, &["prio", "7"]);
    }
    let before = qdiscs(&veth.name);
    let ids = ["ingress", "egress"].map(|side| sandbox.load(&tc("ok").tc(side, &veth.name)));
    assert_eq!((veth.ingress(5), veth.egress(6)), (5, 6));
    assert_eq!(ids.map(|id| sandbox.count(id, "counter")), [5, 6]);
    for id in ids {
        sandbox.unload(id);
    }
    assert_eq!(qdiscs(&veth.name), before);
    tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
}

/// An ingress qdisc has no egress side. Where TCX exists, neither matters.
#[test]
fn a_foreign_ingress_qdisc_is_left_alone() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    tool("tc", &["qdisc", "add", "dev", &veth.name, "ingress"]).ok();
    let before = qdiscs(&veth.name);
    let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5));
    let egress = sandbox.try_load(&tc("ok").tc("egress", &veth.name));
    if Feature::Tcx.is_present() {
        sandbox.unload(egress.ok().trim().parse().unwrap());
    } else {
        egress.fails(1, &[&veth.name, "ingress qdisc"]);
    }
    sandbox.unload(id);
    assert_eq!(qdiscs(&veth.name), before);
    tool("tc", &["qdisc", "del", "dev", &veth.name, "ingress"]).ok();
}

/// A clsact qdisc that we made stays while somebody else's filter uses it.
#[test]
fn a_filter_that_came_later_keeps_our_clsact() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&tc("ok").tc("ingress", &veth.name));
    // Where we needed TCX only, it is not there yet.
    tool("tc", &["qdisc", "add", "dev", &veth.name, "clsact"]);
    foreign_filter(&veth.name, "egress", &["prio", "7"]);
    sandbox.unload(id);
    let left = json("tc", &["-j", "filter", "show", "dev", &veth.name, "egress"]);
    assert!(left.to_string().contains("tcx_stats"), "{left}");
    assert_eq!(veth.egress(5), 5);
    tool("tc", &["qdisc", "del", "dev", &veth.name, "clsact"]).ok();
}
