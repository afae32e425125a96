//! Health and reflection, as tools ask for them.

use testkit::{Sandbox, servers::Daemon};
use tokio_stream::StreamExt as _;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::client::Client;

#[test]
fn health_is_served_until_the_end() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let client = Client::new();
    for service in ["", "bpfman.v1.Bpfman"] {
        let mut health = HealthClient::new(client.channel.clone());
        let service = service.to_owned();
        let answer = client.wait(health.check(HealthCheckRequest { service }));
        let status = answer.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32);
    }
    // A watch has no end of its own, and must not keep the daemon.
    let mut health = HealthClient::new(client.channel.clone());
    let service = "bpfman.v1.Bpfman".to_owned();
    let watch = client.wait(health.watch(HealthCheckRequest { service }));
    let mut watch = watch.unwrap().into_inner();
    let first = client.wait(watch.next()).unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let second = client.wait(watch.next()).unwrap().unwrap();
    assert_eq!(second.status, ServingStatus::NotServing as i32);
    daemon.stop();
}

#[test]
fn reflection_describes_the_interface() {
    let sandbox = Sandbox::new();
    let _daemon = Daemon::start(&sandbox);
    let client = Client::new();
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let ask = |message_request| {
        tokio_stream::iter([ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        }])
    };
    let mut answer = |message| {
        client.wait(async {
            let mut stream = reflection
                .server_reflection_info(ask(message))
                .await
                .unwrap()
                .into_inner();
            stream.next().await.unwrap().unwrap().message_response
        })
    };
    let listed = answer(MessageRequest::ListServices(String::new()));
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<_> = listed.service.iter().map(|it| it.name.as_str()).collect();
    for name in ["bpfman.v1.Bpfman", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol("bpfman.v1.Bpfman".into());
    let Some(MessageResponse::FileDescriptorResponse(file)) = answer(symbol) else {
        panic!("the service is not described");
    };
    let bytes = file.file_descriptor_proto.concat();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("PullBytecodeRequest"), "{text}");
}
