//! Every section name of the field loads as what it means, and as nothing else.

use testkit::{Feature, Sandbox, object};

/// What to load the program as, and what not.
fn words(kind: &str) -> Vec<&str> {
    match kind {
        "xdp" => vec!["xdp", "-i", "bm0"],
        "tc ingress" => vec!["tc", "-d", "ingress", "-i", "bm0"],
        "tc egress" => vec!["tc", "-d", "egress", "-i", "bm0"],
        "tcx ingress" => vec!["tcx", "-d", "ingress", "-i", "bm0"],
        "tcx egress" => vec!["tcx", "-d", "egress", "-i", "bm0"],
        "tracepoint" => vec!["tracepoint", "-t", "syscalls/sys_enter_openat"],
        "kprobe" => vec!["kprobe", "-f", "do_unlinkat"],
        "kretprobe" => vec!["kprobe", "-f", "do_unlinkat", "-r"],
        "uprobe" => vec!["uprobe", "-t", "libc", "-f", "getpid"],
        "uretprobe" => vec!["uprobe", "-t", "libc", "-f", "getpid", "-r"],
        "fentry" => vec!["fentry", "-f", "do_unlinkat"],
        // The functions that may sleep are few.
        "fentry.s" => vec!["fentry", "-f", "bpf_fentry_test1"],
        "fexit" => vec!["fexit", "-f", "do_unlinkat"],
        "fexit.s" => vec!["fexit", "-f", "bpf_fentry_test1"],
        other => vec![other],
    }
}

/// Loads, asks for the kernel's type, unloads.
fn accepts(file: &str, programs: &[(&str, &str)], kernel_type: &str, features: &[Feature]) {
    let Some(sandbox) = Sandbox::requiring(features) else {
        return;
    };
    let _veth = sandbox.veth();
    for (program, kind) in programs {
        let id = sandbox.load(&object(file).name(program).attach(&words(kind)));
        assert_eq!(sandbox.get(id).kernel("Type"), kernel_type, "{program}");
        sandbox.unload(id);
    }
}

/// Refuses before the verifier sees it, with a reason that names the program, and changes nothing.
fn refuses(file: &str, programs: &[(&str, &str)]) {
    let sandbox = Sandbox::new();
    let _veth = sandbox.veth();
    sandbox.unchanged(|| {
        for (program, kind) in programs {
            let said = sandbox.try_load(&object(file).name(program).attach(&words(kind)));
            let said = said.fails(1, &[program]);
            assert!(!said.contains("verifier"), "{program} as {kind}: {said}");
        }
    });
}

#[test]
fn xdp() {
    let programs = ["s_xdp", "s_xdp_name"].map(|name| (name, "xdp"));
    accepts("sections_xdp", &programs, "xdp", &[]);
}

#[test]
fn xdp_frags() {
    accepts(
        "sections_xdp",
        &[("s_xdp_frags", "xdp")],
        "xdp",
        &[Feature::XdpFrags],
    );
}

#[test]
fn xdp_is_nothing_else() {
    refuses(
        "sections_xdp",
        &[
            ("s_xdp", "tc ingress"),
            ("s_xdp", "tracepoint"),
            ("s_xdp_name", "tcx egress"),
            ("s_xdp_frags", "kprobe"),
            // libbpf knows no such section.
            ("s_xdp_prog", "xdp"),
            // Programs of a devmap or cpumap run at an entry of the map, not at an interface.
            ("s_xdp_devmap", "xdp"),
            ("s_xdp_cpumap", "xdp"),
        ],
    );
}

#[test]
fn tc() {
    let any = ["s_tc", "s_classifier", "s_classifier_pass"];
    let mut programs: Vec<(&str, &str)> = any.map(|name| (name, "tc ingress")).to_vec();
    programs.extend(any.map(|name| (name, "tc egress")));
    programs.extend([
        ("s_tc_ingress", "tc ingress"),
        ("s_tc_egress", "tc egress"),
        ("s_tcx_ingress", "tc ingress"),
        ("s_tcx_egress", "tc egress"),
    ]);
    accepts("sections_tc", &programs, "tc", &[]);
}

#[test]
fn tcx() {
    let programs = [
        ("s_tc", "tcx ingress"),
        ("s_classifier", "tcx egress"),
        ("s_classifier_pass", "tcx ingress"),
        ("s_tc_ingress", "tcx ingress"),
        ("s_tc_egress", "tcx egress"),
        ("s_tcx_ingress", "tcx ingress"),
        ("s_tcx_egress", "tcx egress"),
    ];
    accepts("sections_tc", &programs, "tc", &[Feature::Tcx]);
}

#[test]
fn tc_is_nothing_else() {
    refuses(
        "sections_tc",
        &[
            ("s_tc", "xdp"),
            ("s_classifier_pass", "tracepoint"),
            // An action is another type of the kernel than a classifier.
            ("s_action", "tc ingress"),
            ("s_action", "tcx egress"),
            ("s_tc_ingress", "tc egress"),
            ("s_tc_egress", "tcx ingress"),
            ("s_tcx_ingress", "tc egress"),
            ("s_tcx_egress", "tcx ingress"),
        ],
    );
}

#[test]
fn tracepoint() {
    let programs = [
        "s_tp",
        "s_tracepoint",
        "s_tp_syscalls_sys_enter_openat",
        "s_tracepoint_syscalls_sys_enter_openat",
    ]
    .map(|name| (name, "tracepoint"));
    accepts(
        "sections_tracepoint",
        &programs,
        "tracepoint",
        &[Feature::PerfLink],
    );
}

#[test]
fn tracepoint_is_nothing_else() {
    refuses(
        "sections_tracepoint",
        &[
            ("s_tp", "kprobe"),
            ("s_tracepoint", "xdp"),
            ("s_tp", "fentry"),
            ("s_tp", "tc egress"),
        ],
    );
}

#[test]
fn kprobe() {
    let mut programs = [
        "s_kprobe",
        "s_kprobe_do_unlinkat",
        "s_kprobe_do_unlinkat_0x4",
    ]
    .map(|name| (name, "kprobe"))
    .to_vec();
    programs.extend(["s_kretprobe", "s_kretprobe_do_unlinkat"].map(|name| (name, "kretprobe")));
    // A plain program fits the return as well.
    programs.push(("s_kprobe", "kretprobe"));
    accepts(
        "sections_probe",
        &programs,
        "probe",
        &[Feature::Kprobe, Feature::PerfLink],
    );
}

#[test]
fn kprobe_multi_and_ksyscall() {
    let programs = [
        ("s_kprobe_multi", "kprobe"),
        ("s_kprobe_multi_do_unlink_", "kprobe"),
        ("s_kretprobe_multi", "kretprobe"),
        ("s_ksyscall_openat", "kprobe"),
    ];
    accepts(
        "sections_probe",
        &programs,
        "probe",
        &[Feature::Kprobe, Feature::PerfLink],
    );
}

#[test]
fn uprobe() {
    let mut programs = ["s_uprobe", "s_uprobe_env", "s_uprobe_s"]
        .map(|name| (name, "uprobe"))
        .to_vec();
    programs.extend(["s_uretprobe", "s_uretprobe_env", "s_uretprobe_s"].map(|n| (n, "uretprobe")));
    programs.push(("s_uprobe", "uretprobe"));
    accepts("sections_probe", &programs, "probe", &[Feature::PerfLink]);
}

#[test]
fn uprobe_multi() {
    let programs = [("s_uprobe_multi", "uprobe")];
    accepts("sections_probe", &programs, "probe", &[Feature::PerfLink]);
}

#[test]
fn probes_are_nothing_else() {
    refuses(
        "sections_probe",
        &[
            ("s_kprobe", "uprobe"),
            ("s_uprobe", "kprobe"),
            ("s_kprobe", "fentry"),
            ("s_uprobe", "tracepoint"),
            ("s_kprobe", "xdp"),
            // A probe of this kind needs maps that only its own way to attach fills.
            ("s_usdt", "uprobe"),
            // What was written for a return reads registers that mean something else at the entry.
            ("s_kretprobe", "kprobe"),
            ("s_uretprobe", "uprobe"),
        ],
    );
}

#[test]
fn tracing() {
    let programs = [
        ("s_fentry", "fentry"),
        ("s_fentry_do_unlinkat", "fentry"),
        ("s_fexit", "fexit"),
        ("s_fexit_do_unlinkat", "fexit"),
    ];
    accepts(
        "sections_tracing",
        &programs,
        "tracing",
        &[Feature::Tracing],
    );
}

#[test]
fn sleepable_tracing() {
    let programs = [
        ("s_fentry_s", "fentry.s"),
        ("s_fentry_s_bpf_fentry_test1", "fentry.s"),
        ("s_fexit_s", "fexit.s"),
        ("s_fexit_s_bpf_fentry_test1", "fexit.s"),
    ];
    accepts(
        "sections_tracing",
        &programs,
        "tracing",
        &[Feature::SleepableTracing],
    );
}

#[test]
fn tracing_is_nothing_else() {
    refuses(
        "sections_tracing",
        &[
            ("s_fentry", "fexit"),
            ("s_fexit", "fentry"),
            ("s_fentry", "kprobe"),
            ("s_fmod_ret_security_file_open", "fentry"),
            ("s_lsm_file_open", "fentry"),
            ("s_raw_tp_sched_switch", "tracepoint"),
            ("s_tp_btf_sched_switch", "tracepoint"),
        ],
    );
}

#[test]
fn other_sections_are_refused() {
    refuses(
        "sections_other",
        &[
            ("s_socket", "tc ingress"),
            ("s_cgroup_skb_ingress", "xdp"),
            ("s_whatever", "xdp"),
        ],
    );
}
