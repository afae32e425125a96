use super::*;

#[test]
fn credentials_are_checked_and_never_shown() {
    let auth: RegistryAuth = "dXNlcjpwYTpzcw==".parse().unwrap();
    assert_eq!((auth.user(), auth.password()), ("user", "pa:ss"));
    assert_eq!(format!("{auth:?}"), "RegistryAuth(..)");
    let wrong = |text: &str| text.parse::<RegistryAuth>().unwrap_err();
    assert_eq!(wrong("user:pass"), AuthError::Base64);
    assert_eq!(wrong("dXNlcg=="), AuthError::Form);
    assert_eq!(wrong("OnBhc3M="), AuthError::Form);
    assert_eq!(wrong("/w=="), AuthError::Text);
    assert_eq!(wrong(""), AuthError::Form);
}

#[test]
fn sources_in_state_keep_their_form() {
    use crate::Source;
    let image = Source::Image {
        url: "quay.io/a/b:c".parse().unwrap(),
        pull_policy: PullPolicy::IfNotPresent,
    };
    let text = r#"{"from":"image","url":"quay.io/a/b:c","pull_policy":"IfNotPresent"}"#;
    assert_eq!(serde_json::to_string(&image).unwrap(), text);
    assert_eq!(serde_json::from_str::<Source>(text).unwrap(), image);
    let file = r#"{"from":"file","path":"/x.o"}"#;
    let read: Source = serde_json::from_str(file).unwrap();
    assert_eq!(
        read,
        Source::File {
            path: "/x.o".into()
        }
    );
}
