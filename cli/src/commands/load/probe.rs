//! Program types of a place in the code of the kernel or of a process.

use clap::Args;
use model::Attach;

use crate::parse;

const TRACEPOINT_LONG_ABOUT: &str = "\
Install an eBPF program on a Tracepoint

The program runs each time the kernel passes a static trace event. The events of a machine are the
folders below /sys/kernel/tracing/events, a category and a name each.";

const TRACEPOINT_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./openat.o --name count tracepoint --tracepoint syscalls/sys_enter_openat
  bpfman load file -p ./sched.o tracepoint -t sched/sched_switch";

const KPROBE_LONG_ABOUT: &str = "\
Install a kprobe or kretprobe eBPF probe

The program runs when the kernel enters a function, comes to an offset in it or, with --retprobe,
returns from it. /sys/kernel/tracing/available_filter_functions lists most functions that can be
probed. Where the kernel has BTF, fentry and fexit cost less and see the arguments with their types.";

const KPROBE_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./kprobe.o --name my_kprobe kprobe --fn-name try_to_wake_up
  bpfman load file -p ./kretprobe.o -n my_kretprobe kprobe -f try_to_wake_up -r";

const UPROBE_LONG_ABOUT: &str = "\
Install a uprobe or uretprobe eBPF probe

The program runs when a process enters a function of a program or library, comes to an offset in it
or, with --retprobe, returns from it. That holds for all processes that run the file, those that
start later included, unless --pid names one.";

const UPROBE_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./uprobe.o --name my_uprobe uprobe --fn-name malloc --target libc
  bpfman load file -p ./uretprobe.o -n my_uretprobe uprobe -f malloc -t libc -r
  bpfman load file -p ./uprobe.o uprobe -t /usr/bin/bash --offset 0x2f0a0 --pid 4711
  bpfman load file -p ./uprobe.o uprobe -f malloc -t libc --container-pid 4711";

const FENTRY_LONG_ABOUT: &str = "\
Install a fentry eBPF probe

The program runs when the kernel enters a function and sees its arguments. The kernel needs BTF
(/sys/kernel/btf/vmlinux) and, on x86-64, version 5.5 or later.";

const FENTRY_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./fentry.o --name test_fentry fentry --fn-name do_unlinkat
  bpfman load file -p ./fentry.o fentry -f do_unlinkat";

const FEXIT_LONG_ABOUT: &str = "\
Install a fexit eBPF probe

The program runs when the kernel returns from a function and sees its arguments and its result. The
kernel needs BTF (/sys/kernel/btf/vmlinux) and, on x86-64, version 5.5 or later.";

const FEXIT_AFTER_HELP: &str = "\
Examples:
  bpfman load file --path ./fexit.o --name test_fexit fexit --fn-name do_unlinkat
  bpfman load file -p ./fexit.o fexit -f do_unlinkat";

#[derive(Debug, Args)]
#[command(long_about = TRACEPOINT_LONG_ABOUT, after_long_help = TRACEPOINT_AFTER_HELP)]
pub(crate) struct Tracepoint {
    /// Required: The tracepoint to attach to.
    /// Format: <CATEGORY>/<NAME>
    /// Example: --tracepoint sched/sched_switch
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::tracepoint)]
    tracepoint: model::Tracepoint,
}

#[derive(Debug, Args)]
#[command(long_about = KPROBE_LONG_ABOUT, after_long_help = KPROBE_AFTER_HELP)]
pub(crate) struct Kprobe {
    /// Required: Kernel function to attach the probe to.
    /// Example: --fn-name try_to_wake_up
    #[arg(short, long, verbatim_doc_comment)]
    fn_name: String,

    /// Optional: Bytes from the start of the function, in decimal or as 0x and hex.
    ///
    /// [default: 0]
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::offset)]
    offset: Option<u64>,

    /// Optional: Run at the return of the function instead (kretprobe)
    #[arg(short, long, conflicts_with = "offset", verbatim_doc_comment)]
    retprobe: bool,

    /// Optional: Host PID of a process in a container. Not supported: a kernel function is the
    /// same for all containers.
    #[arg(short, long, verbatim_doc_comment)]
    container_pid: Option<u32>,
}

#[derive(Debug, Args)]
#[command(long_about = UPROBE_LONG_ABOUT, after_long_help = UPROBE_AFTER_HELP)]
pub(crate) struct Uprobe {
    /// Required, unless there is an offset: Function to attach the probe to.
    /// Example: --fn-name malloc
    #[arg(short, long, verbatim_doc_comment)]
    fn_name: Option<String>,

    /// Optional: Bytes from the start of the function or, without one, from the start of the
    /// file, in decimal or as 0x and hex.
    ///
    /// [default: 0]
    #[arg(short, long, verbatim_doc_comment, value_parser = parse::offset)]
    offset: Option<u64>,

    /// Required: Program or library that has the function: the name of a library or a path.
    /// Example: --target libc
    /// Example: --target /usr/bin/bash
    #[arg(short, long, verbatim_doc_comment)]
    target: String,

    /// Optional: Run at the return of the function instead (uretprobe)
    #[arg(short, long, verbatim_doc_comment)]
    retprobe: bool,

    /// Optional: Only in the process of this PID
    ///
    /// [default: in all processes]
    #[arg(short, long, verbatim_doc_comment)]
    pid: Option<u32>,

    /// Optional: Host PID of a process in a container, where the target is looked up.
    ///
    /// The target is the file that this process would find: its own libc, not the host's.
    ///
    /// [default: look in the file system of the host]
    #[arg(short, long, verbatim_doc_comment)]
    container_pid: Option<u32>,
}

#[derive(Debug, Args)]
#[command(long_about = FENTRY_LONG_ABOUT, after_long_help = FENTRY_AFTER_HELP)]
pub(crate) struct Fentry {
    /// Required: Kernel function to attach the probe to.
    /// Example: --fn-name do_unlinkat
    #[arg(short, long, verbatim_doc_comment)]
    fn_name: String,
}

#[derive(Debug, Args)]
#[command(long_about = FEXIT_LONG_ABOUT, after_long_help = FEXIT_AFTER_HELP)]
pub(crate) struct Fexit {
    /// Required: Kernel function to attach the probe to.
    /// Example: --fn-name do_unlinkat
    #[arg(short, long, verbatim_doc_comment)]
    fn_name: String,
}

impl Tracepoint {
    pub(super) fn attach(&self) -> Attach {
        Attach::Tracepoint {
            tracepoint: self.tracepoint.clone(),
        }
    }
}

impl Kprobe {
    pub(super) fn attach(&self) -> Result<Attach, String> {
        if self.container_pid.is_some() {
            return Err(
                "--container-pid is not supported for kprobes: a kernel function is the \
                        same for all containers"
                    .into(),
            );
        }
        Ok(Attach::Kprobe {
            fn_name: self.fn_name.clone(),
            offset: self.offset.unwrap_or_default(),
            retprobe: self.retprobe,
        })
    }
}

impl Uprobe {
    pub(super) fn attach(&self) -> Result<Attach, String> {
        Ok(Attach::Uprobe {
            target: self.target()?,
            fn_name: self.fn_name.clone(),
            offset: self.offset.unwrap_or_default(),
            retprobe: self.retprobe,
            pid: self.pid,
            container_pid: self.container_pid,
        })
    }

    /// The library's name as it is, a path made absolute.
    fn target(&self) -> Result<String, String> {
        let target = &self.target;
        if !target.contains('/') || target.starts_with('/') {
            return Ok(target.clone());
        }
        if self.container_pid.is_some() {
            return Err(format!(
                "--target {target} is relative, which says nothing in a container: give an \
                 absolute path or the name of a library"
            ));
        }
        let absolute = std::path::absolute(target).map_err(|error| error.to_string())?;
        absolute
            .into_os_string()
            .into_string()
            .map_err(|path| format!("--target: the path {} is not UTF-8", path.display()))
    }
}

impl Fentry {
    pub(super) fn attach(&self) -> Attach {
        Attach::Fentry {
            fn_name: self.fn_name.clone(),
        }
    }
}

impl Fexit {
    pub(super) fn attach(&self) -> Attach {
        Attach::Fexit {
            fn_name: self.fn_name.clone(),
        }
    }
}
