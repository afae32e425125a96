//! The JSON schema for editors, made from the same table of fields as the parser.

use std::{env, fs};

use model::Kind;
use serde_json::{Map, Value, json};

use super::{manifest, parse};
use crate::{
    field::{FIELDS, KINDS, takes},
    identity::kind_name,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manifest.schema.json");

#[expect(clippy::too_many_lines, reason = "one table of fields")]
/// A value that the parser takes for each field, what it is for people, and its schema.
fn field(name: &str, kind: Kind) -> (&'static str, &'static str, Value) {
    let words = |all: Vec<&str>| json!({"type": "array", "items": {"enum": all}});
    let number = |maximum: u64| json!({"type": "integer", "minimum": 0, "maximum": maximum});
    let text = || json!({"type": "string", "minLength": 1});
    match name {
        "bpffunctionname" => ("f", "Function of the program in the bytecode", text()),
        "bpfProgram" => (
            "{image: x}",
            "Image with the bytecode, in short",
            object(&json!({"image": text()}), &["image"]),
        ),
        "bytecode" => (
            "{path: /x.o}",
            "Where the bytecode is: an image or a file, relative to the manifest",
            json!({"oneOf": [
                object(&json!({"path": text()}), &["path"]),
                object(&json!({"image": object(&json!({
                    "url": text(),
                    "imagepullpolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                    "imagepullsecret": false,
                }), &["url"])}), &["image"]),
            ]}),
        ),
        "globaldata" => (
            "{g: AQ==}",
            "Global variables: their bytes in memory order, in base64",
            json!({"type": "object", "additionalProperties": {
                "type": "string", "minLength": 1, "contentEncoding": "base64",
            }}),
        ),
        "mapownerselector" => (
            "{matchLabels: {a: b}}",
            "Labels of the manifest whose maps the program shares",
            json!({"$ref": "#/$defs/selector"}),
        ),
        "nodeselector" => (
            "{}",
            "Labels of the hosts on which the program runs; empty: all",
            json!({"$ref": "#/$defs/selector"}),
        ),
        "interfaceselector" => (
            "{interfaces: [a]}",
            "Interfaces; each is a program of its own",
            object(
                &json!({
                    "interfaces": {"type": "array", "items": {
                        "type": "string", "minLength": 1, "maxLength": 15,
                    }},
                    "primarynodeinterface": {"type": "boolean"},
                }),
                &[],
            ),
        ),
        "netns" => (
            "n",
            "Network namespace of the interfaces: a name or a path",
            text(),
        ),
        "priority" => ("5", "Order on the hook: 0 runs first", number(1000)),
        "proceedon" if kind == Kind::Xdp => (
            "[pass]",
            "Return values after which the next program runs",
            words(model::ProceedOn::words(Kind::Xdp).collect()),
        ),
        "proceedon" => (
            "[ok]",
            "Return values after which the next program runs",
            words(model::ProceedOn::words(Kind::Tc).collect()),
        ),
        "direction" => (
            "ingress",
            "Side of the interface",
            json!({"enum": ["ingress", "egress"]}),
        ),
        "names" => (
            "[a/b]",
            "Tracepoints, CATEGORY/NAME; each is a program of its own",
            json!({"type": "array", "minItems": 1, "items": {
                "type": "string", "pattern": "^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$",
            }}),
        ),
        "func_name" => ("f", "Function to probe", text()),
        "offset" => (
            "0",
            "Bytes from the function, or from the start of the file",
            number(u64::MAX),
        ),
        "retprobe" => (
            "true",
            "At the return of the function",
            json!({"type": "boolean"}),
        ),
        "target" => ("libc", "Library or absolute path of a program", text()),
        "pid" => ("1", "Only in this process", number(u32::MAX.into())),
        "containerpid" => (
            "1",
            "Look the target up where this process sees it (host pid)",
            number(u32::MAX.into()),
        ),
        "containers" => ("{}", "Pods of a cluster: refused on one host", json!(false)),
        other => panic!("no schema for {other}"),
    }
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn required(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Xdp => &["interfaceselector"],
        Kind::Tc | Kind::Tcx => &["interfaceselector", "direction"],
        Kind::Tracepoint => &["names"],
        Kind::Kprobe | Kind::Fentry | Kind::Fexit => &["func_name"],
        Kind::Uprobe => &["target"],
    }
}

fn document(kind: Kind) -> Value {
    let mut fields = Map::new();
    for (name, _) in FIELDS.iter().filter(|(name, _)| takes(kind, name)) {
        let (_, about, mut schema) = field(name, kind);
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), about.into());
        }
        fields.insert((*name).to_owned(), schema);
    }
    let mut spec = object(&fields.into(), required(kind));
    spec["oneOf"] = json!([{"required": ["bytecode"]}, {"required": ["bpfProgram"]}]);
    object(
        &json!({
            "apiVersion": {"const": "bpfman.io/v1alpha1"},
            "kind": {"const": kind_name(kind)},
            "metadata": {"$ref": "#/$defs/metadata"},
            "spec": spec,
        }),
        &["apiVersion", "kind", "metadata", "spec"],
    )
}

fn schema() -> Value {
    let pairs = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let requirement = object(
        &json!({
            "key": {"type": "string"},
            "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            "values": {"type": "array", "items": {"type": "string"}},
        }),
        &["key", "operator"],
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A program of bpfman",
        "oneOf": KINDS.iter().map(|kind| document(*kind)).collect::<Vec<_>>(),
        "$defs": {
            "metadata": object(&json!({
                "name": {
                    "type": "string",
                    "maxLength": 253,
                    "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
                },
                "labels": pairs.clone(),
                "annotations": pairs.clone(),
            }), &["name"]),
            "selector": object(&json!({
                "matchLabels": pairs,
                "matchExpressions": {"type": "array", "items": requirement},
            }), &[]),
        },
    })
}

/// The file that ships is the one made here. `BLESS=1` writes it.
#[test]
fn the_schema_is_up_to_date() {
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if env::var_os("BLESS").is_some() {
        fs::write(PATH, &made).unwrap();
    }
    let shipped = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        shipped == made,
        "docs/manifest.schema.json: write it with BLESS=1"
    );
}

/// The parser takes exactly the fields that the schema has, and needs those that it requires.
#[test]
fn schema_and_parser_agree() {
    for &kind in KINDS {
        let line = |name: &str| format!("{name}: {}\n", field(name, kind).0);
        let needed: String = required(kind).iter().map(|name| line(name)).collect();
        // A uprobe needs a function or an offset, which a schema says badly.
        let place = if kind == Kind::Uprobe {
            "func_name: f\n"
        } else {
            ""
        };
        let least = format!("bytecode: {{path: /x.o}}\n{needed}{place}");
        let errors = |spec: &str| parse(&manifest(kind_name(kind), "x", spec)).errors;
        assert!(errors(&least).is_empty(), "{kind}: {:?}", errors(&least));
        for missing in required(kind) {
            let without = least.replace(&line(missing), "");
            assert_eq!(errors(&without).len(), 1, "{kind} without {missing}");
        }
        for (name, _) in FIELDS {
            if least.contains(&format!("{name}: ")) {
                continue;
            }
            let mut with = least.clone() + &line(name);
            if *name == "bpfProgram" {
                with = with.replace("bytecode: {path: /x.o}\n", "");
            }
            // Either offset or return.
            let fine = takes(kind, name) && *name != "containers";
            let found = errors(&with);
            assert_eq!(found.is_empty(), fine, "{kind} with {name}: {found:?}");
        }
    }
}
