//! Where commands are killed: hooks with a program that takes every packet, and kernel functions.

use std::{fs, path::PathBuf};

use testkit::{Feature, Load, Sandbox, Veth, object};

use crate::{
    flow::Line,
    manifests::{ABORTED, DROP, Manifest, SHOT, TAKEN, tcx_manifest, write, xdp_manifest},
    support::{hex, tc, xdp},
};

/// All places of one run. Pairs may have two: one for each direction.
pub(crate) struct Scene {
    veths: Vec<Veth>,
    pub(crate) spots: Vec<Spot>,
}

/// One place where programs come and go beside one that stays.
pub(crate) struct Spot {
    pub(crate) name: &'static str,
    /// None where a manifest brings it.
    pub(crate) resident: Option<Load>,
    pub(crate) manifest: Option<fn(&str, u32) -> Manifest>,
    /// None where there is room for one program only.
    subject: Option<Load>,
    /// Pair and direction; None for programs that count calls.
    line: Option<(usize, bool)>,
    /// Nothing comes here, and nothing stays: the first program comes to an empty hook, and the
    /// last one leaves it empty.
    pub(crate) quiet: bool,
}

impl Spot {
    pub(crate) fn takes_guests(&self) -> bool {
        self.subject.is_some()
    }

    /// Whether packets come here. Then there is an order, and a last one that they come to.
    pub(crate) fn has_packets(&self) -> bool {
        self.line.is_some()
    }

    /// A program that comes and goes, before or behind the one that takes every packet.
    pub(crate) fn guest(&self, reached: bool) -> Load {
        let load = self.subject.clone().unwrap();
        match self.line {
            Some(_) => load.priority(if reached { 100 } else { 900 }),
            None => load,
        }
    }

    /// Another manifest each time, whose program takes every packet as well.
    pub(crate) fn write_manifest(&self, scene: &Scene, sandbox: &Sandbox, number: u32) -> PathBuf {
        let make = self.manifest.unwrap();
        let iface = &self.line(scene).unwrap().veth.name;
        let file = format!("{}.yaml", self.name.replace(' ', "-"));
        write(sandbox, &file, &[make(iface, number)])
    }

    pub(crate) fn line<'a>(&self, scene: &'a Scene) -> Option<Line<'a>> {
        let (pair, inbound) = self.line?;
        let veth = &scene.veths[pair];
        Some(Line { veth, inbound })
    }

    /// How many packets have come through since this was asked last.
    pub(crate) fn bypassed(&self, scene: &Scene) -> usize {
        let Some(Line { veth, inbound }) = self.line(scene) else {
            return 0;
        };
        let (near, far) = veth.sockets();
        let end = if inbound { near } else { far };
        end.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        let came = std::iter::from_fn(|| end.recv(&mut buffer).ok()).count();
        end.set_nonblocking(false).unwrap();
        came
    }
}

/// Calls that the probes count.
pub(crate) fn call(times: u32) {
    for _ in 0..times {
        fs::remove_file("/run/nothing").unwrap_err();
    }
}

fn priority(number: u32) -> u32 {
    300 + number % 400
}

/// Each of two verdicts in its turn.
fn taking(number: u32, verdicts: [&'static str; 2]) -> &'static str {
    verdicts[usize::from(!number.is_multiple_of(2))]
}

fn xdp_taker(iface: &str, number: u32) -> Manifest {
    let verdict = taking(number, [DROP, ABORTED]);
    xdp_manifest("taker", iface, verdict, priority(number))
}

fn tcx_taker(iface: &str, number: u32) -> Manifest {
    let verdict = taking(number, [SHOT, TAKEN]);
    tcx_manifest("taker", iface, verdict, priority(number))
}

impl Scene {
    /// XDP and TC, with extension programs.
    pub(crate) fn of_chains(sandbox: &Sandbox) -> Self {
        let veths: Vec<Veth> = (0..4).map(|_| sandbox.veth()).collect();
        let [one, two, three, four] = [0, 1, 2, 3].map(|pair: usize| veths[pair].name.clone());
        let chain = |name, load: &dyn Fn(&str) -> Load, taken: &str, next: &str, line| Spot {
            name,
            resident: Some(load(taken).priority(500)),
            manifest: None,
            subject: Some(load(next)),
            line: Some(line),
            quiet: false,
        };
        let tc_on = |side: &'static str| {
            let two = two.clone();
            move |verdict: &str| tc(verdict).tc(side, &two)
        };
        let quiet = |name, load: Load| Spot {
            name,
            resident: None,
            manifest: None,
            subject: Some(load),
            line: None,
            quiet: true,
        };
        let spots = vec![
            quiet("empty xdp", xdp("pass").xdp(&four)),
            quiet("empty tc", tc("ok").tc("ingress", &four)),
            chain("xdp", &|v| xdp(v).xdp(&one), "drop", "pass", (0, true)),
            chain("tc ingress", &tc_on("ingress"), "shot", "ok", (1, true)),
            chain("tc egress", &tc_on("egress"), "shot", "ok", (1, false)),
            Spot {
                name: "xdp manifest",
                resident: None,
                manifest: Some(xdp_taker),
                subject: Some(xdp("pass").xdp(&three)),
                line: Some((2, true)),
                quiet: false,
            },
        ];
        Self { veths, spots }
    }

    /// What needs no extension programs, as far as this kernel has it.
    pub(crate) fn of_links(sandbox: &Sandbox) -> Self {
        let mut scene = Self {
            veths: Vec::new(),
            spots: Vec::new(),
        };
        if Feature::Tcx.is_present() {
            scene.add_tcx(sandbox);
        }
        if !Feature::Ext.is_present() {
            scene.veths.push(sandbox.veth());
            scene.spots.push(Spot {
                name: "xdp alone",
                resident: None,
                manifest: Some(xdp_taker),
                subject: None,
                line: Some((scene.veths.len() - 1, true)),
                quiet: false,
            });
        }
        let pid = hex(i32::try_from(std::process::id()).unwrap());
        let mut probe = |name, program: &str, words: &[&str]| {
            let load = object("probes").name(program).global("only_pid", &pid);
            let load = load.attach(words);
            scene.spots.push(Spot {
                name,
                resident: Some(load.clone()),
                manifest: None,
                subject: Some(load),
                line: None,
                quiet: false,
            });
        };
        let event = ["tracepoint", "-t", "syscalls/sys_enter_unlink"];
        probe("tracepoint", "count_tracepoint", &event);
        if Feature::Kprobe.is_present() {
            probe("kprobe", "count_kprobe", &["kprobe", "-f", "do_unlinkat"]);
        }
        if Feature::Tracing.is_present() {
            probe("fentry", "count_fentry", &["fentry", "-f", "do_unlinkat"]);
        }
        scene
    }

    fn add_tcx(&mut self, sandbox: &Sandbox) {
        self.veths.extend([sandbox.veth(), sandbox.veth()]);
        let [one, two] = [0, 1].map(|pair: usize| self.veths[pair].name.clone());
        for (name, side, inbound) in [
            ("tcx ingress", "ingress", true),
            ("tcx egress", "egress", false),
        ] {
            self.spots.push(Spot {
                name,
                resident: Some(tc("shot").tcx(side, &one).priority(500)),
                manifest: None,
                subject: Some(tc("unspec").tcx(side, &one)),
                line: Some((0, inbound)),
                quiet: false,
            });
        }
        self.spots.push(Spot {
            name: "tcx manifest",
            resident: None,
            manifest: Some(tcx_taker),
            subject: Some(tc("unspec").tcx("ingress", &two)),
            line: Some((1, true)),
            quiet: false,
        });
    }
}
