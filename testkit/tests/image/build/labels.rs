//! Labels that were not computed from the object.

use serde_json::json;
use testkit::{
    Sandbox, example, oci,
    servers::{Options, Registry},
};

use crate::support::{pull, pulled, stored};

#[test]
fn labels_that_contradict_the_object_are_refused() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, &Options::default());
    let path = example("tracepoint_counter").path;
    let programs = r#"{"sched_switch":"tracepoint"}"#;
    let image = |name: &str, programs: &str, maps: &str| {
        let labels = json!({"io.ebpf.programs": programs, "io.ebpf.maps": maps});
        let image = oci::Image::of_file(&path).labels(labels);
        let layout = oci::write_layout(&sandbox.tmp().join(name), &[image]);
        registry.push(&layout, name, &[]);
        registry.image(name)
    };
    let type_of_map = image("a", programs, r#"{"switch_count":"hash"}"#);
    let name_of_map = image("b", programs, r#"{"switches":"array"}"#);
    let type_of_program = image("c", r#"{"sched_switch":"xdp"}"#, "{}");
    let name_of_program = image("d", r#"{"switch":"tracepoint"}"#, "{}");
    let cases: [(&str, &[&str]); 4] = [
        (&type_of_map, &["map 'switch_count'", "'hash'", "'array'"]),
        (
            &name_of_map,
            &[
                "map 'switches'",
                "hint: the object has: openat_count, switch_count",
            ],
        ),
        (&type_of_program, &["program 'sched_switch'", "'xdp'"]),
        (&name_of_program, &["program 'switch'", "enter_openat"]),
    ];
    for (image, fragments) in cases {
        pull(&sandbox, image, &[]).fails(1, fragments);
        let attach = ["tracepoint", "--tracepoint", "sched/sched_switch"];
        let args = [
            "load",
            "image",
            "--image-url",
            image,
            "--name",
            "sched_switch",
        ];
        sandbox
            .bpfman(args.iter().chain(&attach))
            .fails(1, fragments);
    }
    assert_eq!(stored(&sandbox), [""; 0]);

    // Words of other tools, and maps that libbpf makes for variables.
    let fine = image(
        "e",
        programs,
        r#"{"switch_count":"BPF_MAP_TYPE_ARRAY",".rodata":"array","openat_count":"sequence"}"#,
    );
    let answer = pulled(&sandbox, &fine, &[]);
    assert_eq!(answer["image"]["object"], super::digest(&path));
}
