//! What object files contain: with and without BTF, CO-RE, kernel symbols, old map definitions,
//! calls between functions. Proved by what the programs then count.

use std::{fs, path::PathBuf};

use testkit::{Feature, Load, Sandbox, Veth, maps, object, wait_until};

use crate::support::{hex, ingress};

/// The first counter that the program filled when seven packets went through.
fn seven_packets(load: &Load, map: &str) -> u64 {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&load.clone().xdp(&veth.name));
    assert_eq!(veth.ingress(7), 7);
    sandbox.count(id, map)
}

/// The pin of a section that holds variables, whose name has the object's in front.
fn section(sandbox: &Sandbox, id: u32, suffix: &str) -> PathBuf {
    let dir = sandbox.map(id, "");
    let pins: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let fits = |path: &&PathBuf| path.to_string_lossy().ends_with(suffix);
    pins.iter()
        .find(fits)
        .unwrap_or_else(|| panic!("no pin of {suffix} in {pins:?}"))
        .clone()
}

#[test]
fn without_btf_as_the_only_program() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = object("xdp_nobtf")
        .global("verdict", &hex(1))
        .xdp(&veth.name);
    if Feature::Ext.is_present() {
        // A chain needs BTF, and every program of an interface is in one where chains exist.
        let refused = sandbox.unchanged(|| sandbox.try_load(&load));
        refused.fails(1, &["BTF", "-g"]);
    } else {
        let id = sandbox.load(&load);
        assert_eq!(veth.ingress(7), 0);
        assert_eq!(maps::count(&section(&sandbox, id, "bss"), 0), 7);
    }
}

#[test]
fn a_tracepoint_program_without_btf() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let load = object("tracepoint_nobtf");
    let id = sandbox.load(&load.attach(&["tracepoint", "-t", "syscalls/sys_enter_openat"]));
    fs::read("/proc/self/comm").unwrap();
    assert!(maps::count(&section(&sandbox, id, "bss"), 0) > 0);
}

#[test]
fn co_re_reads_the_running_kernel() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let load = object("core").name("core_tracepoint");
    let id = sandbox.load(&load.attach(&["tracepoint", "-t", "syscalls/sys_enter_openat"]));
    let (tgid, parent) = (sandbox.map(id, "last_tgid"), sandbox.map(id, "last_parent"));
    // Others open files too: look right after one of ours.
    let ours = || {
        fs::read("/proc/self/comm").unwrap();
        // Each read of a map opens its pin through bpf(2), not through openat.
        maps::count(&tgid, 0) == u64::from(std::process::id())
            && maps::count(&parent, 0) == u64::from(std::os::unix::process::parent_id())
    };
    assert!(wait_until(ours), "never our own process id");
}

#[test]
fn co_re_in_packet_programs() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let xdp = sandbox.load(&object("core").name("core_xdp").xdp(&veth.name));
    let tc = sandbox.load(&object("core").name("core_tc").tc("ingress", &veth.name));
    assert_eq!(ingress(&sandbox, &veth, 7, &[xdp, tc]), (vec![7, 7], 7));
}

#[test]
fn co_re_that_the_kernel_cannot_satisfy() {
    let sandbox = Sandbox::new();
    let load = object("core_missing").attach(&["tracepoint", "-t", "syscalls/sys_enter_openat"]);
    sandbox
        .unchanged(|| sandbox.try_load(&load))
        .fails(1, &["core_missing"]);
}

#[test]
fn a_weak_kfunc_that_no_kernel_has() {
    assert_eq!(seven_packets(&object("kfunc_weak"), "counter"), 7);
}

#[test]
fn kfuncs() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Kfunc]) else {
        return;
    };
    let veth = sandbox.veth();
    let xdp = sandbox.load(&object("kfunc_net").name("kfunc_xdp").xdp(&veth.name));
    let tc = sandbox.load(
        &object("kfunc_net")
            .name("kfunc_tc")
            .tc("ingress", &veth.name),
    );
    assert_eq!(ingress(&sandbox, &veth, 7, &[xdp, tc]), (vec![7, 7], 7));
}

#[test]
fn kfuncs_in_a_tracing_program() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Kfunc, Feature::Tracing]) else {
        return;
    };
    let load = object("kfunc").attach(&["fentry", "-f", "do_unlinkat"]);
    let id = sandbox.load(&load);
    fs::write("/run/gone", "").unwrap();
    fs::remove_file("/run/gone").unwrap();
    assert!(sandbox.count(id, "counter") >= 1);
}

#[test]
fn a_kfunc_that_is_missing_is_named() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let load = object("kfunc_missing").xdp(&veth.name);
    sandbox
        .unchanged(|| sandbox.try_load(&load))
        .fails(1, &["bpfman_no_such_kfunc"]);
}

#[test]
fn kernel_symbols() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::PerfLink]) else {
        return;
    };
    let attach = ["tracepoint", "-t", "syscalls/sys_enter_openat"];
    let id = sandbox.load(&object("ksym").attach(&attach));
    fs::read("/proc/self/comm").unwrap();
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let line = symbols
        .lines()
        .find(|line| line.ends_with(" bpf_prog_put"))
        .unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    assert_eq!(sandbox.count(id, "address"), address);
}

#[test]
fn a_variable_of_the_kernel() {
    let needed = [Feature::PerfLink, Feature::KallsymsAll];
    let Some(sandbox) = Sandbox::requiring(&needed) else {
        return;
    };
    let attach = ["tracepoint", "-t", "syscalls/sys_enter_openat"];
    let id = sandbox.load(&object("ksym_typed").attach(&attach));
    fs::read("/proc/self/comm").unwrap();
    assert!(sandbox.count(id, "active") >= 1);
}

#[test]
fn a_sibling_that_needs_a_missing_kfunc_is_no_obstacle() {
    assert_eq!(
        seven_packets(&object("kfunc_sibling").name("good"), "counter"),
        7
    );
}

/// Every way in which a program reaches a map: each gets the maps that it uses, made and pinned.
#[test]
fn old_and_new_map_definitions_in_one_object() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let id = sandbox.load(&object("old_maps_mixed").name("use_all").xdp(&veth.name));
    assert_eq!(veth.ingress(7), 7);
    let pins = fs::read_dir(sandbox.map(id, "")).unwrap();
    let mut pins: Vec<String> = pins
        .map(|pin| pin.unwrap().file_name().into_string().unwrap())
        .collect();
    pins.sort_unstable();
    assert_eq!(pins, ["first", "lone", "modern", "second", "visible"]);
}

#[test]
fn a_value_of_the_kernel_configuration() {
    let version = seven_packets(&object("kconfig"), "version");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u64>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(
        (version >> 16, version >> 8 & 0xff),
        (major, minor),
        "{version:#x}"
    );
}

/// Map definitions of 20 and of 28 bytes.
#[test]
fn old_map_definitions() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for name in ["old_maps", "aya_maps", "aya_maps_pinned"] {
        counts_in_old_maps(&sandbox, &veth, name);
    }
}

#[test]
fn old_map_definitions_without_btf() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for name in ["old_maps_nobtf", "aya_maps_nobtf"] {
        if Feature::Ext.is_present() {
            sandbox
                .try_load(&object(name).xdp(&veth.name))
                .fails(1, &["BTF", "-g"]);
        } else {
            counts_in_old_maps(&sandbox, &veth, name);
        }
    }
}

fn counts_in_old_maps(sandbox: &Sandbox, veth: &Veth, name: &str) {
    let id = sandbox.load(&object(name).xdp(&veth.name));
    assert_eq!(ingress(sandbox, veth, 7, &[id]), (vec![7], 7), "{name}");
    assert_eq!(sandbox.count(id, "per_cpu"), 7, "{name}");
    // An Ethernet, an IP and a UDP header and the number.
    let frame = 14 + 20 + 8 + 4;
    assert_eq!(maps::count(&sandbox.map(id, "lengths"), frame), 7, "{name}");
    assert!(!fs::exists("/sys/fs/bpf/counter").unwrap(), "{name}");
    sandbox.unload(id);
}

#[test]
fn calls_between_functions() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    let (pass, ok) = (hex(2), hex(0));
    let xdp = object("calls")
        .name("calls_xdp")
        .global("verdict", &pass)
        .xdp(&veth.name);
    let tc = object("calls")
        .name("calls_tc")
        .global("verdict", &ok)
        .tc("ingress", &veth.name);
    let ids = [sandbox.load(&xdp), sandbox.load(&tc)];
    assert_eq!(ingress(&sandbox, &veth, 7, &ids), (vec![7, 7], 7));
}

#[test]
fn a_tail_call_inside_the_object() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::ExtTailCall]) else {
        return;
    };
    let veth = sandbox.veth();
    let id = sandbox.load(&object("tail_call").name("entry").xdp(&veth.name));
    assert_eq!(veth.ingress(7), 7);
    assert_eq!(sandbox.count(id, "counter"), 7);
}

#[test]
fn a_broken_sibling_is_no_obstacle() {
    assert_eq!(
        seven_packets(&object("broken_sibling").name("good"), "counter"),
        7
    );
}

#[test]
fn programs_that_move_the_packet() {
    let sandbox = Sandbox::new();
    let veth = sandbox.veth();
    for name in ["adjust_head", "adjust_tail"] {
        let id = sandbox.load(&object("xdp_adjust").name(name).xdp(&veth.name));
        assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5), "{name}");
        sandbox.unload(id);
    }
    for name in ["pull_data", "direct_write", "store_bytes"] {
        let id = sandbox.load(&object("tc_adjust").name(name).tc("ingress", &veth.name));
        assert_eq!(ingress(&sandbox, &veth, 5, &[id]), (vec![5], 5), "{name}");
        sandbox.unload(id);
    }
}

#[test]
fn programs_that_move_the_packet_in_a_chain() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let xdp: Vec<u32> = ["adjust_head", "adjust_tail", "adjust_head"]
        .map(|name| sandbox.load(&object("xdp_adjust").name(name).xdp(&veth.name)))
        .to_vec();
    let tc: Vec<u32> = ["pull_data", "direct_write", "store_bytes"]
        .map(|name| sandbox.load(&object("tc_adjust").name(name).tc("egress", &veth.name)))
        .to_vec();
    assert_eq!(ingress(&sandbox, &veth, 5, &xdp), (vec![5; 3], 5));
    assert_eq!(
        crate::support::egress(&sandbox, &veth, 5, &tc),
        (vec![5; 3], 5)
    );
}

#[test]
fn packets_in_fragments() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext, Feature::XdpFrags]) else {
        return;
    };
    let veth = sandbox.veth();
    testkit::tool("ip", &["link", "set", &veth.name, "mtu", "9000"]).ok();
    testkit::in_netns(&veth.netns, || {
        testkit::tool("ip", &["link", "set", &veth.peer, "mtu", "9000"]).ok();
    });
    let frags = object("xdp_frags").xdp(&veth.name);
    let ids = [sandbox.load(&frags), sandbox.load(&frags)];
    let (_, far) = veth.sockets();
    far.send_to(&[0; 8000], "10.200.0.1:4000").unwrap();
    let (near, _) = veth.sockets();
    let mut buffer = vec![0; 9000];
    assert_eq!(near.recv_from(&mut buffer).unwrap().0, 8000);
    for id in ids {
        assert_eq!(sandbox.count(id, "counter"), 1);
        assert!(sandbox.count(id, "longest") > 8000);
    }
    // One that cannot see fragments makes the whole chain one that cannot, and the driver refuses
    // such a chain at this size: an error, and the chain is as it was.
    let plain = object("xdp_verdict").xdp(&veth.name);
    let output = sandbox.try_load(&plain);
    if output.status != 0 {
        output.fails(1, &[&veth.name]);
        assert_eq!(sandbox.ids().len(), 2);
    }
}

#[test]
fn long_names_are_shown_in_full() {
    let Some(sandbox) = Sandbox::requiring(&[Feature::Ext]) else {
        return;
    };
    let veth = sandbox.veth();
    let names = [
        "a_program_with_a_name_that_the_kernel_cuts",
        "a_program_with_another_name",
    ];
    let map = "a_map_with_a_name_that_the_kernel_cuts";
    let ids = names.map(|name| sandbox.load(&object("long_names").name(name).xdp(&veth.name)));
    assert_eq!(veth.ingress(2), 2);
    assert_eq!(ids.map(|id| sandbox.count(id, map)), [2, 200]);
    assert_eq!(ids.map(|id| sandbox.get(id).bpfman("Name")), names);
    let listed: Vec<String> = sandbox
        .list(&[])
        .into_iter()
        .map(|line| line.name)
        .collect();
    assert_eq!(listed, names);
}

#[test]
fn a_pinning_flag_pins_nothing_outside_our_tree() {
    let Some(sandbox) = Sandbox::requiring(&[]) else {
        return;
    };
    let veth = sandbox.veth();
    let id = sandbox.load(&object("pin_by_name").xdp(&veth.name));
    assert_eq!(veth.ingress(7), 7);
    assert_eq!(sandbox.count(id, "pinned_counter"), 7);
    assert!(!fs::exists("/sys/fs/bpf/pinned_counter").unwrap());
    // Not shared by name either.
    sandbox.unload(id);
    let id = sandbox.load(&object("pin_by_name").xdp(&veth.name));
    assert_eq!(sandbox.count(id, "pinned_counter"), 0);
}
