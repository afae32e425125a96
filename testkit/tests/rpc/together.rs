//! Several clients and the command line at once, on the same state.

use std::{collections::BTreeSet, thread};

use testkit::{Sandbox, object, servers::Daemon};

use crate::client::{Client, ours, tracepoint};

const ROUNDS: usize = 12;
const EVENT: &str = "syscalls/sys_enter_getcwd";

#[test]
fn two_clients_and_the_command_line() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    // Each keeps every other program that it loads.
    let client = || {
        let client = Client::new();
        let mut kept = Vec::new();
        for round in 0..ROUNDS {
            let id = client.loaded(tracepoint(EVENT));
            assert!(client.ids().contains(&id));
            assert_eq!(client.get(id).unwrap().kernel_info.unwrap().id, id);
            if round % 2 == 0 {
                client.unload(id).unwrap();
            } else {
                kept.push(id);
            }
        }
        kept
    };
    let clients = [thread::spawn(client), thread::spawn(client)];
    let load = object("tracepoint_nobtf").attach(&["tracepoint", "-t", EVENT]);
    let mut kept = BTreeSet::new();
    for round in 0..ROUNDS {
        let id = sandbox.load(&load);
        if round % 2 == 0 {
            sandbox.unload(id);
        } else {
            kept.insert(id);
        }
    }
    for client in clients {
        kept.extend(client.join().unwrap());
    }
    assert_eq!(kept.len(), 3 * ROUNDS / 2);
    assert_eq!(sandbox.ids(), kept.iter().copied().collect::<Vec<_>>());
    assert_eq!(Client::new().ids(), sandbox.ids());
}

#[test]
fn a_thousand_lists_from_eight_clients() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let id = Client::new().loaded(tracepoint(EVENT));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(|| {
                let client = Client::new();
                for _ in 0..125 {
                    assert_eq!(client.list(ours()).unwrap().results.len(), 1);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    sandbox.unload(id);
}
