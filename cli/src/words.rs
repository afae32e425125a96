//! Flags that take every `NAME=VALUE` word after them.
//!
//! clap can end such a list only at another flag, or at the name of a subcommand, and then `-n xdp`
//! would end as well although a function may well have that name. So the words are dealt out
//! before clap sees them: `-g A=01 B=02 xdp` becomes `-g=A=01 -g=B=02 xdp`.

use std::ffi::OsString;

/// Flags that take a list of `NAME=VALUE` words, on every command that has them.
const FLAGS: [&str; 5] = ["-g", "--global", "-m", "--metadata", "--metadata-selector"];

/// A flag of [`FLAGS`] and what is attached to it: `-gA=01`, `-g=A=01`, `--global=A=01`.
fn flag(word: &str) -> Option<(&'static str, &str)> {
    FLAGS.into_iter().find_map(|flag| {
        let rest = word.strip_prefix(flag)?;
        let long = flag.starts_with("--");
        let value = rest.strip_prefix('=').unwrap_or(rest);
        (rest.is_empty() || rest.starts_with('=') || !long).then_some((flag, value))
    })
}

/// Whether a list goes on with this word.
fn goes_on(word: &str) -> bool {
    !word.starts_with('-') && word.contains('=')
}

/// Gives every word of a list its own flag.
pub(crate) fn deal_out(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut dealt = Vec::new();
    while let Some(arg) = args.next() {
        let Some((flag, attached)) = arg.to_str().and_then(flag) else {
            dealt.push(arg);
            continue;
        };
        if !attached.is_empty() {
            dealt.push(format!("{flag}={attached}").into());
        } else if let Some(first) = args.next_if(|word| !word.as_encoded_bytes().starts_with(b"-"))
        {
            dealt.push(join(flag, &first));
        } else {
            // clap says best what is missing.
            dealt.push(arg);
        }
        while let Some(word) = args.next_if(|word| word.to_str().is_some_and(goes_on)) {
            dealt.push(join(flag, &word));
        }
    }
    dealt
}

fn join(flag: &str, value: &OsString) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push("=");
    joined.push(value);
    joined
}

/// Whether a word, as [`deal_out`] leaves it, belongs to such a list.
pub(crate) fn is_dealt(word: &str) -> bool {
    flag(word).is_some_and(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_gets_its_flag() {
        for (given, wanted) in [
            ("-g A=01 B=02 xdp -i e", "-g=A=01 -g=B=02 xdp -i e"),
            ("-g A=01 -n xdp xdp", "-g=A=01 -n xdp xdp"),
            ("-gA=01 B=02 tc", "-g=A=01 -g=B=02 tc"),
            ("--global=A=01 B=02 tc", "--global=A=01 --global=B=02 tc"),
            ("-m a=b c=d=e -g X=1 xdp", "-m=a=b -m=c=d=e -g=X=1 xdp"),
            ("-m =b xdp", "-m==b xdp"),
            ("-g xdp -i e", "-g=xdp -i e"),
            ("-g -n pass", "-g -n pass"),
            ("--metadata-selector a=b", "--metadata-selector=a=b"),
            ("--globals a=b", "--globals a=b"),
            ("-g", "-g"),
        ] {
            let dealt = deal_out(given.split(' ').map(OsString::from));
            assert_eq!(dealt.join(" ".as_ref()), *wanted, "{given}");
        }
    }
}
